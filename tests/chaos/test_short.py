"""Short assaults on one fleet, in an order that a seed decides: what `make chaos` does for longer, in `make test`."""

from __future__ import annotations

import os

import pytest

from tests.chaos import scenarios_limits, scenarios_order  # noqa: F401 - they register their scenarios
from tests.chaos.controls import CONTROLS, without
from tests.chaos.play import play
from tests.chaos.scenario import SCENARIOS


def played(name: str) -> None:
    seed = int(os.environ["CHAOS_SEED"])
    report = play(SCENARIOS[name], seed)
    assert report.passed, f"repeat with CHAOS_SEED={seed}: {report}"


@pytest.mark.timeout(240)
def test_kills_stops_silences_and_a_dying_server_lose_nothing_and_settle_nothing_twice() -> None:
    played("everything-short")


@pytest.mark.timeout(120)
def test_a_limit_is_never_exceeded_and_never_stuck_whatever_befalls_who_has_a_slot() -> None:
    played("limit-short")


def test_each_guard_that_is_to_be_taken_out_stands_in_the_code() -> None:
    for control in CONTROLS:
        assert without(control)
