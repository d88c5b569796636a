"""arq: a job stays in the queue's sorted set until it is done, under a lock that runs out. An event loop."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import bodies
from arq import create_pool
from arq.connections import RedisSettings
from bodies import TEXT
from measure import url

LEAST_ONCE = True
SETTINGS = "max_jobs 100, keep_result 0"
PACE = 400


async def noop(_context: object, number: int, text: str) -> None:
    await bodies.anoop(number, text)


async def stamp(_context: object, due: float) -> None:
    await bodies.astamp(due)


async def nap(_context: object, seconds: float) -> None:
    await bodies.anap(seconds)


class Settings:
    """What the `arq` command serves."""

    functions = (noop, stamp, nap)
    redis_settings = RedisSettings.from_dsn(url())
    max_jobs = 100
    keep_result = 0


_pool = None


async def pool() -> object:
    """One pool for the loop that asks."""
    global _pool
    if _pool is None or _pool[0] is not asyncio.get_running_loop():
        _pool = (asyncio.get_running_loop(), await create_pool(Settings.redis_settings))
    return _pool[1]


def left(store: object) -> int:
    """A job leaves the set when it is done."""
    return store.zcard("arq:queue")


async def enqueue_one_async(count: int) -> None:
    line = await pool()
    for number in range(count):
        await line.enqueue_job("noop", number, TEXT)


async def enqueue_gathered(count: int) -> None:
    line = await pool()
    await asyncio.gather(*[line.enqueue_job("noop", number, TEXT) for number in range(count)])


enqueue_bulk = enqueue_one_async


async def enqueue_stamp(due: float) -> None:
    await (await pool()).enqueue_job("stamp", due)


async def enqueue_delayed(delays: list[float], now: float) -> None:
    line = await pool()
    for delay in delays:
        await line.enqueue_job("stamp", now + delay, _defer_by=timedelta(seconds=delay))


async def enqueue_naps(count: int, seconds: float) -> None:
    line = await pool()
    for _ in range(count):
        await line.enqueue_job("nap", seconds)


def worker(**_places: int | None) -> list[str]:
    return [sys.executable, "-m", "arq", "peers.arq.Settings"]
