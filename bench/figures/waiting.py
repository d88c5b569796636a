"""Jobs that wait, as most jobs do: 50 ms each on 100 places, so that 2,000 a second is the ideal."""

from __future__ import annotations

import time
from types import ModuleType

from observe import call, store, until, working

from figures import Row
from figures.drain import prepare

SECONDS = 0.05
PLACES = 100
ROWS = [
    Row(
        f"waiting-{kind}", title, "% of ideal", "part", {"jobs": 5_000, "kind": kind}, {"jobs": 1_500},
        (f"enqueue_{word}", "left", "worker"), ("worker_us",),
    )
    for kind, word, title in (
        ("loop", "naps", "asyncio.sleep(0.05) on 100 places"),
        ("threads", "thread_naps", "time.sleep(0.05) on 100 threads"),
    )
]  # fmt: skip


def measure(contestant: ModuleType, jobs: int, kind: str) -> dict[str, float]:
    """Per cent of 2,000 jobs a second, from the first tenth done to the last."""
    from observe import family, process_seconds

    client = store()
    prepare(contestant)
    call(contestant.enqueue_naps if kind == "loop" else contestant.enqueue_thread_naps, jobs, SECONDS)
    places = {"concurrency": PLACES} if kind == "loop" else {"concurrency": PLACES, "threads": PLACES}
    with working(contestant, **places) as worker:
        until(lambda: contestant.left(client) <= jobs * 0.9, "the first jobs", every=0.002)
        pids = family(worker.pid)
        began, first, used = time.perf_counter(), contestant.left(client), process_seconds(pids)
        until(lambda: contestant.left(client) <= 0, "the last job", every=0.005)
        took = time.perf_counter() - began
        spent = process_seconds(pids) - used
    return {"part": first / took / (PLACES / SECONDS) * 100, "worker_us": spent / first * 1e6}
