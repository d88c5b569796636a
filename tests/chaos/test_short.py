"""A short assault on one fleet, in an order that a seed decides: what `make chaos` does for longer, in `make test`."""

from __future__ import annotations

import os

import pytest

from tests.chaos import scenarios_order  # noqa: F401 - registers its scenarios
from tests.chaos.play import play
from tests.chaos.scenario import SCENARIOS


@pytest.mark.timeout(240)
def test_kills_stops_silences_and_a_dying_server_lose_nothing_and_settle_nothing_twice() -> None:
    seed = int(os.environ["CHAOS_SEED"])
    report = play(SCENARIOS["everything-short"], seed)
    assert report.passed, f"repeat with CHAOS_SEED={seed}: {report}"
