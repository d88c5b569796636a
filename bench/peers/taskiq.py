"""taskiq over Redis streams: acknowledged after the run, claimed anew from idle consumers. An event loop.

The stream broker is the one that its page calls reliable; uvloop is picked up by itself. It has no bulk enqueue.
"""

from __future__ import annotations

import asyncio
import sys

import bodies
from bodies import TEXT
from measure import url
from observe import call
from taskiq_redis import RedisStreamBroker

LEAST_ONCE = True
SETTINGS = "RedisStreamBroker, 100 async tasks at once, no result backend"
PACE = 800

broker = RedisStreamBroker(url=url())
noop = broker.task(task_name="noop")(bodies.anoop)
stamp = broker.task(task_name="stamp")(bodies.astamp)
anap = broker.task(task_name="anap")(bodies.anap)


def left(store: object) -> int:
    """What the group has not been handed, and what it has not acknowledged."""
    groups = store.xinfo_groups("taskiq") if store.exists("taskiq") else []
    if not groups:
        return store.xlen("taskiq")
    return int(groups[0]["lag"] or 0) + int(groups[0]["pending"])


def prepare() -> None:
    async def declare() -> None:
        await broker.startup()
        await broker.shutdown()

    call(declare)


async def enqueue_one_async(count: int) -> None:
    for number in range(count):
        await noop.kiq(number, TEXT)


async def enqueue_gathered(count: int) -> None:
    await asyncio.gather(*[noop.kiq(number, TEXT) for number in range(count)])


enqueue_bulk = enqueue_one_async


async def enqueue_stamp(due: float) -> None:
    await stamp.kiq(due)


async def enqueue_naps(count: int, seconds: float) -> None:
    for _ in range(count):
        await anap.kiq(seconds)


def worker(*, processes: int = 1, concurrency: int | None = None, **_places: int | None) -> list[str]:
    command = [sys.executable, "-m", "taskiq", "worker", "peers.taskiq:broker", "--workers", str(processes)]
    return [*command, "--max-async-tasks", str(concurrency or 100)]
