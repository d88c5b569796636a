"""streaq over Redis streams: acknowledged after the run, claimed anew from idle consumers. An event loop."""

from __future__ import annotations

import asyncio
import sys

import bodies
from bodies import TEXT
from measure import url
from streaq import Worker

LEAST_ONCE = True
SETTINGS = "concurrency 100, prefetch 100, enqueue_many for bulk, results kept as by default"
PACE = 3_000
BATCH = 1_000

_open = False

app = Worker(redis_url=url(), concurrency=100, prefetch=100)
noop = app.task(name="noop")(bodies.anoop)
stamp = app.task(name="stamp")(bodies.astamp)
nap = app.task(name="nap")(bodies.anap)


def left(store: object) -> int:
    """An entry leaves the stream when its task is done."""
    return sum(store.xlen(key) for key in store.keys("streaq:default:queues:*") if store.type(key) == b"stream")


async def enqueue_one_async(count: int) -> None:
    async with app:
        for number in range(count):
            await noop.enqueue(number, TEXT)


async def enqueue_gathered(count: int) -> None:
    async def one(number: int) -> None:
        await noop.enqueue(number, TEXT)

    async with app:
        await asyncio.gather(*[one(number) for number in range(count)])


async def enqueue_bulk(count: int) -> None:
    async with app:
        for first in range(0, count, BATCH):
            some = range(first, min(first + BATCH, count))
            await app.enqueue_many([noop.enqueue(number, TEXT) for number in some])


async def enqueue_stamp(due: float) -> None:
    global _open
    if not _open:
        _open = bool(await app.__aenter__())
    await stamp.enqueue(due)


async def enqueue_naps(count: int, seconds: float) -> None:
    async with app:
        await app.enqueue_many([nap.enqueue(seconds) for _ in range(count)])


def worker(*, processes: int = 1, **_places: int | None) -> list[str]:
    return [f"{sys.prefix}/bin/streaq", "run", "peers.streaq:app", "--workers", str(processes)]
