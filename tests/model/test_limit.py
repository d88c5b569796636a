"""The model check of a limit: it keeps its promises in every order of events, and each planted error is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.limit import CASES, Design, row, search

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


@pytest.mark.parametrize(("name", "design", "breaks"), CASES, ids=[name for name, _, _ in CASES])
def test_a_limit_breaks_exactly_where_a_guard_is_missing(name: str, design: Design, breaks: str) -> None:
    found = search(design)
    assert found.breach == breaks, "\n".join([found.breach, *found.path])
    assert row(name, found) in PAGE.read_text("utf-8"), "python -m tests.model.limit prints the new table"
