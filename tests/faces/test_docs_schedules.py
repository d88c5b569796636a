"""The examples of docs/schedules.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"


def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    monkeypatch.setenv("PROCESSION_URL", f"memory://{namespace}")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {"__name__": "shop"}
    for block in blocks:
        exec(block, names)
    assert names["app"].schedules.declared.keys() == {"shop.report", "shop.Check"}  # type: ignore[attr-defined]
