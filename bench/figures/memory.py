"""Bytes in the store per job: waiting (an int and 20 characters), and finished, as each keeps it by default."""

from __future__ import annotations

from types import ModuleType

from observe import call, store, until, working

from figures import Row
from figures.drain import prepare

NEEDS = ("enqueue_bulk", "left", "worker")
SIZES = ({"jobs": 50_000}, {"jobs": 10_000})
ROWS = [
    Row(
        "bytes-waiting",
        "bytes per waiting job",
        "bytes",
        "waiting",
        *SIZES,
        needs=NEEDS,
        more=("finished",),
        higher=False,
    )
]


def measure(contestant: ModuleType, jobs: int = 50_000) -> dict[str, float]:
    """Bytes of `used_memory` that come with a job, when it waits and after it is done."""
    client = store()
    prepare(contestant)
    call(contestant.enqueue_bulk, 600)  # past the small encodings, and the scripts are there
    before = client.info("memory")["used_memory"]
    call(contestant.enqueue_bulk, jobs)
    waiting = (client.info("memory")["used_memory"] - before) / jobs
    with working(contestant) as worker:
        until(lambda: contestant.left(client) <= 0, "the last job", every=0.02, patience=120)
        worker.terminate()
        worker.wait(timeout=10)
    finished = (client.info("memory")["used_memory"] - before) / jobs
    return {"waiting": waiting, "finished": max(finished, 0.0)}
