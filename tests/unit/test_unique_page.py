"""The examples of docs/unique.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "unique.md"


def test_the_examples_of_the_page_run_one_after_the_other() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {"__name__": "shop"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    names["app"].flush(confirm="procession")  # other pages use the same store of this process
