"""celery over Redis: acknowledged late, so a killed worker's tasks come back (after an hour, the visibility timeout).

Its guide on optimising: `worker_prefetch_multiplier` above 1 for short tasks, results off where nobody reads them.
"""

from __future__ import annotations

import sys

import bodies
from bodies import TEXT
from celery import Celery
from measure import url

LEAST_ONCE = True
SETTINGS = "acks_late, reject_on_worker_lost, prefork 2, prefetch 100, results ignored"
PACE = 500

app = Celery("bench", broker=url())
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    broker_connection_retry_on_startup=True,
)
noop = app.task(name="noop")(bodies.noop)
stamp = app.task(name="stamp")(bodies.stamp)
nap = app.task(name="nap")(bodies.nap)
burn = app.task(name="burn")(bodies.burn)


def left(store: object) -> int:
    """What waits, and what was fetched but not acknowledged."""
    return store.llen("celery") + store.hlen("unacked")


def enqueue_one(count: int) -> None:
    for number in range(count):
        noop.delay(number, TEXT)


enqueue_bulk = enqueue_one


def enqueue_stamp(due: float) -> None:
    stamp.delay(due)


def enqueue_thread_naps(count: int, seconds: float) -> None:
    for _ in range(count):
        nap.delay(seconds)


def enqueue_burns(count: int, rounds: int) -> None:
    for _ in range(count):
        burn.delay(rounds)


def worker(
    *, processes: int = 1, concurrency: int | None = None, threads: int | None = None, burning: int | None = None
) -> list[str]:
    places = str(burning or threads or concurrency or processes)
    pool = "threads" if threads else "prefork"
    command = [sys.executable, "-m", "celery", "-A", "peers.celery", "worker", "--pool", pool, "--concurrency", places]
    return [*command, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
