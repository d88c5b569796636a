"""The examples of docs/unique.md run."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "unique.md"


def test_the_examples_of_the_page_run_one_after_the_other() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names = {"__name__": "shop"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
