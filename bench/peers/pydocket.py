"""docket over Redis streams: acknowledged after the run, redelivered when a worker is silent. An event loop."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import bodies
from bodies import TEXT
from docket import Docket
from measure import TAG, url

LEAST_ONCE = True
SETTINGS = "concurrency 100, add_many for bulk"
PACKAGE = "docket"
PACE = 800

tasks = [bodies.anoop, bodies.astamp, bodies.anap]
_docket: Docket | None = None


def roomy() -> str:
    """redis-py 8 allows 100 connections where nothing is said, and a hundred tasks at once need more."""
    return f"{url()}?max_connections=500"


def docket() -> Docket:
    """One for each use: it belongs to a loop."""
    return Docket(name=TAG, url=roomy())


def left(store: object) -> int:
    """An entry leaves the stream when its task is done; what is due later is in a sorted set."""
    return store.xlen(f"{TAG}:stream")


async def enqueue_one_async(count: int) -> None:
    async with docket() as line:
        for number in range(count):
            await line.add(bodies.anoop)(number, TEXT)


async def enqueue_gathered(count: int) -> None:
    async with docket() as line:
        await asyncio.gather(*[line.add(bodies.anoop)(number, TEXT) for number in range(count)])


async def enqueue_bulk(count: int) -> None:
    async with docket() as line:
        await line.add_many([line.call(bodies.anoop)(number, TEXT) for number in range(count)])


async def enqueue_stamp(due: float) -> None:
    global _docket
    if _docket is None:
        _docket = await docket().__aenter__()
    await _docket.add(bodies.astamp)(due)


async def enqueue_delayed(delays: list[float], now: float) -> None:
    async with docket() as line:
        for delay in delays:
            await line.add(bodies.astamp, when=datetime.fromtimestamp(now + delay, UTC))(now + delay)


async def enqueue_naps(count: int, seconds: float) -> None:
    async with docket() as line:
        await line.add_many([line.call(bodies.anap)(seconds) for _ in range(count)])


def worker(**_places: int | None) -> list[str]:
    command = [
        f"{sys.prefix}/bin/docket",
        "worker",
        "--docket",
        TAG,
        "--url",
        roomy(),
        "--tasks",
        "peers.pydocket:tasks",
    ]
    return [*command, "--concurrency", "100", "--logging-level", "WARNING"]
