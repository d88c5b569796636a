"""dramatiq: messages are acknowledged after they ran, and taken back from a dead worker a minute later. Threads.

Its guide leaves processes and threads to the machine; 8 threads a process are its default. It has no bulk enqueue.
"""

from __future__ import annotations

import sys

import bodies
import dramatiq
from bodies import TEXT
from dramatiq.brokers.redis import RedisBroker
from measure import url

LEAST_ONCE = True
SETTINGS = "8 threads, no result backend"
PACE = 2_500

dramatiq.set_broker(RedisBroker(url=url()))
noop = dramatiq.actor(bodies.noop)
stamp = dramatiq.actor(bodies.stamp)
nap = dramatiq.actor(bodies.nap)


def left(store: object) -> int:
    """A message leaves the hash when it is acknowledged."""
    return store.hlen("dramatiq:default.msgs") + store.hlen("dramatiq:default.DQ.msgs")


def enqueue_one(count: int) -> None:
    for number in range(count):
        noop.send(number, TEXT)


enqueue_bulk = enqueue_one


def enqueue_stamp(due: float) -> None:
    stamp.send(due)


def enqueue_delayed(delays: list[float], now: float) -> None:
    for delay in delays:
        stamp.send_with_options(args=(now + delay,), delay=int(delay * 1_000))


def enqueue_naps(count: int, seconds: float) -> None:
    for _ in range(count):
        nap.send(seconds)


def worker(*, processes: int = 1, concurrency: int | None = None, threads: int | None = None) -> list[str]:
    command = [sys.executable, "-m", "dramatiq", "peers.dramatiq", "--processes", str(processes)]
    return [*command, "--threads", str(concurrency or threads or 8)]
