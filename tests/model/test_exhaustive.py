"""The model check: the design keeps its promises in every order of events, and each planted error is found."""

from __future__ import annotations

import pytest

from tests.model.exhaustive import CASES, Case, search


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_design_breaks_exactly_what_its_missing_guard_protects(case: Case) -> None:
    found = search(case)
    assert found.breach == case.breaks, "\n".join([found.breach, *found.path])
