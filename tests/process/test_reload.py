"""`procession worker --reload`: a file that is changed brings its new code in."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

from procession import Procession
from tests.process.family import Families, until


def test_a_changed_file_brings_new_code_in_and_other_files_do_not(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    family = worker("--reload")
    until(lambda: len(app.workers()) == 1)
    assert shop.version.enqueue().result(timeout=20) == "old"
    (tmp_path / "notes.txt").write_text("no code")
    path = tmp_path / "shop.py"
    # of another length: a .pyc of the same second and size is taken for the code of the new file, too
    path.write_text(path.read_text().replace('"old"', '"newer"'))
    until(lambda: "changed: shop.py" in family.log)
    deadline = time.monotonic() + 20
    while shop.version.enqueue().result(timeout=20) != "newer":
        assert time.monotonic() < deadline
    assert "notes.txt" not in family.log
    assert family.stop() == 0
