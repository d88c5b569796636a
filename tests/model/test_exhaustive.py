"""The model check: the design keeps its promises in every order of events, and each planted error is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.model.exhaustive import CASES, FIRING_CASES, UNIQUE_CASES, Model, row, search

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", [*CASES, *UNIQUE_CASES, *FIRING_CASES], ids=lambda case: case.name)
def test_a_design_breaks_exactly_what_its_missing_guard_protects(case: Model[Any, Any]) -> None:
    found = search(case)
    assert found.breach == case.breaks, "\n".join([found.breach, *found.path])
    assert row(case, found) in PAGE.read_text("utf-8"), "python -m tests.model.exhaustive prints the new table"
