"""Random schedules of real queue workers over a network that loses, delays and repeats; each seed is one history."""

from __future__ import annotations

import os

import pytest

from tests.model.schedule import DISASTER, NETWORK, perform

SEEDS = int(os.environ.get("SCHEDULES", "25"))
"""How many histories of each kind; `SCHEDULES=5000 pytest tests/model/test_schedule.py` for a long night."""
FIRST = int(os.environ.get("SEED", "1"))


@pytest.mark.timeout(60 + SEEDS)
def test_no_fault_of_the_network_loses_a_job_or_runs_one_twice() -> None:
    for seed in range(FIRST, FIRST + SEEDS):
        perform(seed, NETWORK)


@pytest.mark.timeout(60 + SEEDS)
def test_pauses_longer_than_the_lease_and_dying_processes_lose_and_double_nothing() -> None:
    for seed in range(FIRST, FIRST + SEEDS):
        perform(seed, DISASTER, deaths=3)
