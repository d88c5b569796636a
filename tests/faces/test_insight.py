"""`procession history` and `procession errors`, as processes on a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.faces.test_cli import Run, run

__all__ = ["run"]
PAGE = Path(__file__).parents[2] / "docs" / "measures.md"


def test_history_and_errors_show_what_a_worker_did_after_it_is_gone(run: Run, tmp_path: Path) -> None:
    run("enqueue", "shop:app", "shop.send", "ada")
    run("enqueue", "shop:app", "shop.send", "nobody")
    run("worker", "shop:app", "--burst")
    points = json.loads(run("history", "--since", "10m", "--queue", "mail", "--json").stdout)["points"]
    assert [sum(it[name] for it in points) for name in ("enqueued", "processed", "failed")] == [2, 1, 1]
    assert "enqueued" in run("history").stdout
    (error,) = json.loads(run("errors", "--json").stdout)
    assert (error["type"], error["message"], error["where"], error["count"]) == (
        "ValueError", "no such person", "shop:send", 1,
    )  # fmt: skip
    assert error["sample"] == json.loads(run("jobs", "list", "--json").stdout)["jobs"][0]["jid"]
    assert error["fingerprint"] in run("errors").stdout
    run("errors", "mute", error["fingerprint"], "--for", "2h")
    assert json.loads(run("errors", "--json").stdout)[0]["muted_until"] > error["last_at"]
    run("errors", "mute", "unknown", code=3)
    assert "for 'soon' is not a duration" in run("errors", "mute", "unknown", "--for", "soon", code=2).stderr
    run("history", "--since", "8d", code=2)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    assert "ValueError no such person shop:send" in run(program="example.py").stdout
