"""How often the garbage collector looks, in a worker's process."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from procession import Procession
from procession.runtime.child import YOUNG

APP = """
import gc, json
from pathlib import Path
from procession import Procession
{first}
app = Procession()
@app.job(name="look")
def look(path: str) -> None:
    Path(path).write_text(json.dumps(gc.get_threshold()))
"""


@pytest.mark.parametrize("asked", [None, 900, 0])
def test_it_looks_seldom_unless_the_app_has_said_how_often(
    valkey_url: str, namespace: str, tmp_path: Path, asked: int | None
) -> None:
    first = "" if asked is None else f"gc.set_threshold({asked})"
    (tmp_path / "shop.py").write_text(APP.format(first=first))
    app = Procession(valkey_url, namespace=namespace)
    seen = tmp_path / "seen"
    app.job(name="look")(lambda path: None).enqueue(str(seen))
    subprocess.run(
        [sys.executable, "-m", "procession", "worker", "shop:app", "--burst"],
        cwd=tmp_path, env={**os.environ, "PROCESSION_URL": valkey_url, "PROCESSION_NAMESPACE": namespace},
        check=True, timeout=30,
    )  # fmt: skip
    app.close()
    assert json.loads(seen.read_text())[0] == (YOUNG if asked is None else asked)
    assert gc.get_threshold()[0] != YOUNG, "only the worker's process is told"
