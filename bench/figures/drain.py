"""Drain: no-op jobs that wait already, performed from the first start to the last settle as the store shows them.

The worker's start-up counts for nobody: the clock starts when the first two per cent are done, and a worker that has
performed a few jobs before is gone by then. Beside the rate stand processor microseconds per job, of the worker's
processes and of the server, which a busy machine disturbs less, and which part of the time the server had something to
do: 1 means that it was the limit.
"""

from __future__ import annotations

import inspect
import time
from contextlib import ExitStack
from types import ModuleType

from observe import (
    call,
    family,
    process_seconds,
    script_seconds,
    server_busy_seconds,
    server_seconds,
    store,
    until,
    working,
)

from figures import Row

NEEDS = ("enqueue_bulk", "left", "worker")
MORE = ("worker_us", "server_us", "life_us", "server_busy")
BOTH = ("none", "everysec")
WARM = 100
"""Jobs that are performed before, so that the store knows the scripts."""
LONG = 100_000
"""Jobs beside which it matters little that a second process begins some 100 ms after the first: 20,000 may be done by
then, so there is a drain of as many by one process to compare with."""

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
    *[
        Row(
            f"drain-{of}",
            f"drain of {words}, one process",
            "jobs/s",
            "per_second",
            {"jobs": 20_000, "of": of},
            {"jobs": 4_000},
            (f"enqueue_bulk_{of}", "left", "worker"),
            MORE,
        )
        for of, words in (("def", "def jobs, in threads"), ("both", "def and async def jobs in turns"))
    ],
    *[
        Row(
            name,
            f"drain of {LONG:,}, {words}",
            "jobs/s",
            "per_second",
            {"jobs": LONG, "processes": processes},
            {"jobs": 4_000},
            NEEDS,
            MORE,
        )
        for name, words, processes in (("drain-long", "one process", 1), ("drain-2", "two processes", 2))
    ],
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


def measure(contestant: ModuleType, jobs: int = 20_000, processes: int = 1, of: str = "") -> dict[str, float]:
    """Jobs a second, and microseconds per job. `of` says which jobs where a contestant has several kinds: celery, rq,
    dramatiq and huey perform `def` jobs in every row."""
    client = store()
    prepare(contestant)
    _warm(contestant, client)
    before = script_seconds(client)
    call(getattr(contestant, f"enqueue_bulk_{of}" if of else "enqueue_bulk"), jobs)
    enqueued_script = script_seconds(client) - before
    with ExitStack() as ends:
        workers = [ends.enter_context(working(contestant, **it)) for it in _commands(contestant, processes)]
        until(lambda: contestant.left(client) <= jobs * 0.98, "the first jobs", every=0.001)
        began, first = time.perf_counter(), contestant.left(client)
        pids = [pid for worker in workers for pid in family(worker.pid)]
        used, server, script = process_seconds(pids), server_seconds(client), script_seconds(client)
        busy = server_busy_seconds(client)
        seldom, often = (0.005, 0.001) if client is not None else (0.05, 0.05)
        until(lambda: contestant.left(client) <= jobs / 10, "the last tenth", every=seldom)  # a look costs them time
        until(lambda: contestant.left(client) <= 0, "the last job", every=often)
        took, busy = time.perf_counter() - began, server_busy_seconds(client) - busy
        done = max(first, 1)
        return {
            "per_second": done / took,
            "worker_us": (process_seconds(pids) - used) / done * 1e6,
            "server_us": (server_seconds(client) - server) / done * 1e6,
            "server_busy": busy / took,
            "script_us": (script_seconds(client) - script) / done * 1e6,
            "life_us": (script_seconds(client) - before) / jobs * 1e6,
            "enqueue_script_us": enqueued_script / jobs * 1e6,
        }


def _commands(contestant: ModuleType, processes: int) -> list[dict[str, int]]:
    """The options of each worker command: of one that starts them all, or of as many where none can."""
    if "processes" in inspect.signature(contestant.worker).parameters:
        return [{"processes": processes}]
    return [{}] * processes


def _warm(contestant: ModuleType, client: object) -> None:
    """However a contestant brings its scripts, what the store takes to read them is not a job's."""
    call(contestant.enqueue_bulk, WARM)
    with working(contestant):
        until(lambda: contestant.left(client) <= 0, "the first few jobs")


def prepare(contestant: ModuleType) -> None:
    """What the contestant wants done first, if anything."""
    if hasattr(contestant, "prepare"):
        contestant.prepare()
