"""The worked examples of docs/moving: what stands before is valid Python, what stands after runs and enqueues."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

MOVING = Path(__file__).parents[2] / "docs" / "moving"


@pytest.mark.parametrize("page", sorted(MOVING.glob("*.md")), ids=lambda page: page.stem)
def test_the_example_after_the_move_runs(page: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    monkeypatch.setenv("PROCESSION_URL", f"memory://{namespace}")
    before, after = re.findall(r'```python title="[^"]+"\n(.*?)```', page.read_text("utf-8"), re.DOTALL)
    ast.parse(before)
    names: dict[str, Any] = {"__name__": "shop.jobs"}
    exec(compile(after, str(page), "exec"), names)
    if "main" in names:
        asyncio.run(names["main"]())
    assert names["app"].stats().scheduled > 0
