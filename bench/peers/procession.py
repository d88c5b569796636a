"""Ourselves, as a user would run us: stock settings, logging at its default, the command `procession worker`."""

from __future__ import annotations

import asyncio
import os
import sys

from bodies import TEXT, anap, anoop, astamp, burn, nap
from measure import TAG, url
from procession import Procession

LEAST_ONCE = True
SETTINGS = "stock"

app = Procession(os.environ.get("BENCH_URL", "memory://"), namespace=TAG)
noop = app.job(name="noop")(anoop)
stamp = app.job(name="stamp")(astamp)
wait = app.job(name="anap")(anap)
nap_in_thread = app.job(name="nap", queue="threads")(nap)


def left(store: object) -> int:
    """Jobs not settled yet, read past the library so that every contestant is watched alike."""
    queued, running, delayed = store.hmget(f"{{{TAG}:0}}:counters", "queued", "running", "delayed")  # type: ignore[attr-defined]
    return int(queued or 0) + int(running or 0)


def enqueue_one(count: int) -> None:
    """One call, one job."""
    for number in range(count):
        noop.enqueue(number, TEXT)


async def enqueue_one_async(count: int) -> None:
    """One await, one job."""
    for number in range(count):
        await noop.enqueue_async(number, TEXT)
    await app.close_async()


async def enqueue_gathered(count: int) -> None:
    """As many at once as are asked for."""
    await asyncio.gather(*[noop.enqueue_async(number, TEXT) for number in range(count)])
    await app.close_async()


def enqueue_bulk(count: int) -> None:
    """The documented way to enqueue many."""
    app.enqueue_many([noop.bind(number, TEXT) for number in range(count)])


def worker(*, processes: int = 1, concurrency: int | None = None, threads: int | None = None) -> list[str]:
    """The command that performs jobs."""
    command = [sys.executable, "-m", "procession", "worker", "peers.procession:app", "--processes", str(processes)]
    if concurrency:
        command += ["--concurrency", str(concurrency)]
    if threads:
        command += ["--threads", str(threads), "--queue", "threads"]
    return command
