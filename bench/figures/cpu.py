"""Jobs that keep a core busy, on two processes, beside a bare `concurrent.futures.ProcessPoolExecutor`."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType

from bodies import burn
from observe import call, store, until, working

from figures import Row
from figures.drain import prepare

ROUNDS = 200_000
ROWS = [
    Row(
        "cpu", "CPU-bound jobs, two processes", "% of a bare pool", "part", {"jobs": 200}, {"jobs": 60},
        ("enqueue_burns", "left", "worker"),
    )
]  # fmt: skip


def measure(contestant: ModuleType, jobs: int = 200) -> dict[str, float]:
    """Per cent of the bare pool's rate in the same minute."""
    client = store()
    prepare(contestant)
    call(contestant.enqueue_burns, jobs, ROUNDS)
    with working(contestant, burning=2):
        until(lambda: contestant.left(client) <= jobs * 0.9, "the first jobs", every=0.002)
        began, first = time.perf_counter(), contestant.left(client)
        until(lambda: contestant.left(client) <= 0, "the last job", every=0.002)
        ours = first / (time.perf_counter() - began)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(burn, [1_000] * 8))
        began = time.perf_counter()
        list(pool.map(burn, [ROUNDS] * jobs))
        bare = jobs / (time.perf_counter() - began)
    return {"part": ours / bare * 100, "per_second": ours, "bare": bare}
