"""Schedules without a leader: processes that disagree about the time and are killed fire each instant once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from procession.database import open as open_database
from procession.job import State
from procession.schedule import KEPT, Schedule, planned, run_jid
from procession.testing.contract.invariants import all_jobs, check_invariants
from tests.process.family import until
from tests.process.schedulers import BEGIN, HOUR, STEPS

MINUTE = 60_000
SLOTS = [BEGIN + n * MINUTE for n in range(1, 61)]
KINDS = {
    "minutely": Schedule(name="minutely", job="tick", cron="* * * * *", missed="all"),
    "jittered": Schedule(name="jittered", job="tick", every=MINUTE, missed="all", jitter=50_000),
}


@pytest.mark.timeout(120)
def test_ten_skewed_schedulers_killed_at_random_fire_an_hour_of_minutes_sixty_times(
    valkey_url: str, namespace: str
) -> None:
    seed = os.environ["CHAOS_SEED"]
    database = open_database(valkey_url, namespace=namespace, now=lambda: BEGIN)
    connection = database.connect()
    connection.ask(database.upsert_schedules([planned(it, BEGIN) for it in KINDS.values()]))
    afterwards = open_database(valkey_url, namespace=namespace, now=lambda: BEGIN + HOUR)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.process.schedulers", valkey_url, namespace, seed],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert int(process.stdout.readline()) == STEPS, "were killed"
        until(lambda: not connection.ask(afterwards.due_schedules(1)).schedules)
        assert process.communicate(timeout=60) == ("", "")

    made = [job.jid for state in (State.QUEUED, State.DELAYED) for job in all_jobs(afterwards, connection.ask, state)]
    expected = {run_jid(name, slot) for name in KINDS for slot in SLOTS}
    assert (len(made), set(made) == expected) == (2 * 60, True), f"repeat with CHAOS_SEED={seed}"
    assert connection.ask(afterwards.counts()).enqueued == 2 * 60
    for info in connection.ask(afterwards.schedules()).schedules:
        runs = [(run.at, run.jid, run.note) for run in info.runs]
        assert runs == [(slot, str(run_jid(info.name, slot)), "") for slot in SLOTS[-KEPT:]]
        assert info.next_at == BEGIN + HOUR + MINUTE
    check_invariants(afterwards, connection.ask)
    connection.ask(database.flush())
    connection.close()
