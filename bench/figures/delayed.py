"""Delayed jobs: how late they start, when the worker has nothing else to do and when many are due in a short time."""

from __future__ import annotations

import random
import time
from types import ModuleType

from observe import call, percentile, stamps, until, working

from figures import Row
from figures.drain import prepare

NEEDS = ("enqueue_delayed", "worker")
ROWS = [
    Row(
        "delayed-idle", "lateness of delayed jobs, idle", "ms", "p50", {"jobs": 100, "first": 2.0, "spread": 4.0},
        {"jobs": 40, "spread": 2.0}, NEEDS, ("p99",), higher=False,
    ),
    Row(
        "delayed-busy", "lateness, 100,000 due within a minute", "ms", "p50",
        {"jobs": 100_000, "first": 20.0, "spread": 60.0}, {"jobs": 5_000, "first": 4.0, "spread": 3.0},
        NEEDS, ("p99",), higher=False, only=("procession",),
    ),
]  # fmt: skip


def measure(contestant: ModuleType, jobs: int, first: float, spread: float) -> dict[str, float]:
    """Milliseconds after a job is due. `first` and `spread` are seconds; early starts count as zero."""
    prepare(contestant)
    chance = random.Random(4)
    delays = sorted(first + chance.random() * spread for _ in range(jobs))
    with working(contestant):
        call(contestant.enqueue_stamp, time.time())
        until(lambda: bool(stamps()), "the worker's first job", every=0.01)
        now = time.time()
        call(contestant.enqueue_delayed, delays, now)
        enqueued = time.time() - now
        until(lambda: len(stamps()) >= jobs + 1, "the last delayed job", every=0.05, patience=first + spread + 60)
    late = [max(it, 0.0) for it in stamps()[1:]]
    return {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99), "worst": max(late), "enqueue_s": enqueued}
