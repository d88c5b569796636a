"""huey: a pop hands out the task, and nothing brings it back when the consumer is killed: at most once."""

from __future__ import annotations

import sys

import bodies
from bodies import TEXT
from huey import RedisHuey
from measure import url

LEAST_ONCE = False
SETTINGS = "4 threads, results off"
PACE = 3_000

huey = RedisHuey("bench", url=url(), results=False)
noop = huey.task(name="noop")(bodies.noop)
stamp = huey.task(name="stamp")(bodies.stamp)
nap = huey.task(name="nap")(bodies.nap)
burn = huey.task(name="burn")(bodies.burn)


def left(store: object) -> int:
    """What waits; what is performed just now is nowhere."""
    return store.llen("huey.redis.bench")


def enqueue_one(count: int) -> None:
    for number in range(count):
        noop(number, TEXT)


enqueue_bulk = enqueue_one


def enqueue_stamp(due: float) -> None:
    stamp(due)


def enqueue_delayed(delays: list[float], now: float) -> None:
    for delay in delays:
        stamp.schedule((now + delay,), delay=delay)


def enqueue_thread_naps(count: int, seconds: float) -> None:
    for _ in range(count):
        nap(seconds)


def enqueue_burns(count: int, rounds: int) -> None:
    for _ in range(count):
        burn(rounds)


def worker(
    *, processes: int = 1, threads: int | None = None, burning: int | None = None, **_places: int | None
) -> list[str]:
    kind = "process" if burning or processes > 1 else "thread"
    places = burning or threads or (processes if processes > 1 else 4)
    return [
        f"{sys.prefix}/bin/huey_consumer",
        "peers.huey.huey",
        "--worker-type",
        kind,
        "--workers",
        str(places),
        "--quiet",
    ]
