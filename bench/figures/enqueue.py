"""Enqueue: one at a time from sync and from async code, many at once, and in bulk; no worker runs."""

from __future__ import annotations

import gc
import resource
import time
from types import ModuleType

from observe import call, script_seconds, store

from figures import Row
from figures.drain import prepare

MORE = ("client_us", "script_us")


def _row(how: str, title: str, jobs: int, small: int, *modes: str) -> Row:
    options, less = {"how": how, "jobs": jobs}, {"jobs": small}
    return Row(
        f"enqueue-{how.replace('_', '-')}", title, "jobs/s", "per_second", options, less, (f"enqueue_{how}",), MORE,
        modes=modes or ("none",),
    )  # fmt: skip


ROWS = [
    _row("one", "enqueue one at a time, sync", 3_000, 800, "none", "everysec"),
    _row("one_async", "enqueue one at a time, async", 3_000, 800),
    _row("gathered", "1,000 concurrent async enqueues", 1_000, 1_000),
    _row("bulk", "enqueue in bulk", 20_000, 4_000, "none", "everysec"),
]


def measure(contestant: ModuleType, how: str = "one", jobs: int = 2_000) -> dict[str, float]:
    """Jobs a second, and microseconds per job. `how`: one, one_async, gathered, bulk."""
    prepare(contestant)
    enqueue = getattr(contestant, f"enqueue_{how}")
    client = store()
    call(enqueue, min(jobs, 200))  # connections, script caches, imports
    gc.collect()  # else what was imported decides whether a collection of everything falls into the measured part
    script, used = script_seconds(client), _own_seconds()
    began = time.perf_counter()
    took = call(enqueue, jobs) or time.perf_counter() - began
    return {
        "per_second": jobs / took,
        "client_us": (_own_seconds() - used) / jobs * 1e6,
        "script_us": (script_seconds(client) - script) / jobs * 1e6,
    }


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
