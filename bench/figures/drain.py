"""Drain: no-op jobs that wait already, performed from the first start to the last settle as the store shows them.

The worker's start-up counts for nobody: the clock starts when the first two per cent are done, and a worker that has
performed a few jobs before is gone by then. Beside the rate stand processor microseconds per job, of the worker's
processes and of the server, which a busy machine disturbs less.
"""

from __future__ import annotations

import time
from types import ModuleType

from observe import call, family, process_seconds, script_seconds, server_seconds, store, until, working

from figures import Row

NEEDS = ("enqueue_bulk", "left", "worker")
MORE = ("worker_us", "server_us", "life_us")
BOTH = ("none", "everysec")
WARM = 100
"""Jobs that are performed before, so that the store knows the scripts."""

ROWS = [
    Row(
        "drain",
        "drain, one process",
        "jobs/s",
        "per_second",
        {"jobs": 20_000},
        {"jobs": 4_000},
        NEEDS,
        MORE,
        modes=BOTH,
    ),
    Row(
        "drain-2",
        "drain, two processes",
        "jobs/s",
        "per_second",
        {"jobs": 20_000, "processes": 2},
        {"jobs": 4_000},
        NEEDS,
        MORE,
    ),
    *[
        Row(
            f"drain-trip-{trip}",
            f"drain, {trip} ms of added round trip",
            "jobs/s",
            "per_second",
            {"jobs": 20_000},
            {"jobs": 4_000},
            NEEDS,
            ("worker_us",),
            trip=trip,
        )
        for trip in (0, 2, 10)
    ],
]


def measure(contestant: ModuleType, jobs: int = 20_000, processes: int = 1) -> dict[str, float]:
    """Jobs a second, and microseconds per job."""
    client = store()
    prepare(contestant)
    _warm(contestant, client)
    before = script_seconds(client)
    call(contestant.enqueue_bulk, jobs)
    enqueued_script = script_seconds(client) - before
    with working(contestant, processes=processes) as worker:
        until(lambda: contestant.left(client) <= jobs * 0.98, "the first jobs", every=0.001)
        began, first = time.perf_counter(), contestant.left(client)
        pids = family(worker.pid)
        used, server, script = process_seconds(pids), server_seconds(client), script_seconds(client)
        seldom, often = (0.005, 0.001) if client is not None else (0.05, 0.05)
        until(lambda: contestant.left(client) <= jobs / 10, "the last tenth", every=seldom)  # a look costs them time
        until(lambda: contestant.left(client) <= 0, "the last job", every=often)
        took = time.perf_counter() - began
        done = max(first, 1)
        return {
            "per_second": done / took,
            "worker_us": (process_seconds(pids) - used) / done * 1e6,
            "server_us": (server_seconds(client) - server) / done * 1e6,
            "script_us": (script_seconds(client) - script) / done * 1e6,
            "life_us": (script_seconds(client) - before) / jobs * 1e6,
            "enqueue_script_us": enqueued_script / jobs * 1e6,
        }


def _warm(contestant: ModuleType, client: object) -> None:
    """However a contestant brings its scripts, what the store takes to read them is not a job's."""
    call(contestant.enqueue_bulk, WARM)
    with working(contestant):
        until(lambda: contestant.left(client) <= 0, "the first few jobs")


def prepare(contestant: ModuleType) -> None:
    """What the contestant wants done first, if anything."""
    if hasattr(contestant, "prepare"):
        contestant.prepare()
