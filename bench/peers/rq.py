"""rq: a job is in a registry while it runs, and a maintenance pass finds the jobs of dead workers. A fork per job.

Its guide on performance: `SimpleWorker` performs in the worker's own process, so that is what is measured.
"""

from __future__ import annotations

import sys

import bodies
from bodies import TEXT
from measure import url
from redis import Redis
from rq import Queue

LEAST_ONCE = True
SETTINGS = "SimpleWorker (no fork), enqueue_many for bulk, results kept 500 s as by default"
PACE = 200

queue = Queue("default", connection=Redis.from_url(url()))


def left(store: object) -> int:
    """What waits, and what is in the registry of started jobs."""
    return store.llen("rq:queue:default") + store.zcard("rq:wip:default")


def enqueue_one(count: int) -> None:
    for number in range(count):
        queue.enqueue(bodies.noop, number, TEXT)


def enqueue_bulk(count: int) -> None:
    for first in range(0, count, 1_000):
        some = range(first, min(first + 1_000, count))
        queue.enqueue_many([Queue.prepare_data(bodies.noop, (number, TEXT)) for number in some])


def enqueue_stamp(due: float) -> None:
    queue.enqueue(bodies.stamp, due)


def worker(*, processes: int = 1, **_places: int | None) -> list[str]:
    command = [sys.executable, "-m", "rq.cli", "worker-pool", "default", "--num-workers", str(processes)]
    return [*command, "--worker-class", "rq.worker.SimpleWorker", "--url", url(), "--logging-level", "WARNING"]
