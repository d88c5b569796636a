"""saq: a job is in an active list while it runs, and a sweep puts those of dead workers back. An event loop."""

from __future__ import annotations

import asyncio
import sys

import bodies
from bodies import TEXT
from measure import url
from saq import Queue

LEAST_ONCE = True
SETTINGS = "concurrency 100, ttl of results 1 s"
PACE = 400
KEEP = {"ttl": 1, "retries": 2}


async def noop(_context: object, *, number: int, text: str) -> None:
    await bodies.anoop(number, text)


async def stamp(_context: object, *, due: float) -> None:
    await bodies.astamp(due)


async def nap(_context: object, *, seconds: float) -> None:
    await bodies.anap(seconds)


queue = Queue.from_url(url())
settings = {"queue": queue, "functions": [noop, stamp, nap], "concurrency": 100}


def left(store: object) -> int:
    """What waits or is scheduled or active is in this set until it is done."""
    return store.zcard("saq:default:incomplete") + store.llen("saq:default:queued") + store.llen("saq:default:active")


async def enqueue_one_async(count: int) -> None:
    for number in range(count):
        await queue.enqueue("noop", number=number, text=TEXT, **KEEP)


async def enqueue_gathered(count: int) -> None:
    await asyncio.gather(*[queue.enqueue("noop", number=number, text=TEXT, **KEEP) for number in range(count)])


enqueue_bulk = enqueue_one_async


async def enqueue_stamp(due: float) -> None:
    await queue.enqueue("stamp", due=due, **KEEP)


async def enqueue_delayed(delays: list[float], now: float) -> None:
    for delay in delays:
        await queue.enqueue("stamp", due=now + delay, scheduled=int(now + delay), **KEEP)


async def enqueue_naps(count: int, seconds: float) -> None:
    for _ in range(count):
        await queue.enqueue("nap", seconds=seconds, **KEEP)


def worker(*, processes: int = 1, **_places: int | None) -> list[str]:
    return [sys.executable, "-m", "saq", "peers.saq.settings", "--workers", str(processes), "--quiet"]
