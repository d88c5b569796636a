"""pgqueuer on PostgreSQL: rows; finished ones move to a log. An event loop; batch_size=500 as in its benchmark."""

from __future__ import annotations

import json
import os
import sys
from functools import partial

import asyncpg
import bodies
from bodies import TEXT
from observe import call
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

LEAST_ONCE = True
SETTINGS = "batch_size=500, asyncpg, uvloop"
STORE = "postgres"
BATCH = 1_000
PACE = 10_000

_watch: asyncpg.Connection | None = None


async def connected() -> asyncpg.Connection:
    return await asyncpg.connect(os.environ["BENCH_DSN"])


def left(_store: object) -> int:
    return int(call(_waiting))


async def _waiting() -> int:
    global _watch
    if _watch is None:
        _watch = await connected()
    return int(await _watch.fetchval("select count(*) from pgqueuer"))


def prepare() -> None:
    async def install() -> None:
        line = await connected()
        await Queries(AsyncpgDriver(line)).install()
        await line.close()

    call(install)


async def enqueue_one_async(count: int) -> None:
    line = await connected()
    queries = Queries(AsyncpgDriver(line))
    for number in range(count):
        await queries.enqueue("noop", json.dumps([number, TEXT]).encode())
    await line.close()


async def enqueue_bulk(count: int) -> None:
    line = await connected()
    queries = Queries(AsyncpgDriver(line))
    for first in range(0, count, BATCH):
        some = range(first, min(first + BATCH, count))
        payloads = [json.dumps([number, TEXT]).encode() for number in some]
        await queries.enqueue(["noop"] * len(some), payloads, [0] * len(some))
    await line.close()


async def enqueue_stamp(due: float) -> None:
    global _watch
    if _watch is None:
        _watch = await connected()
    await Queries(AsyncpgDriver(_watch)).enqueue("stamp", json.dumps([due]).encode())


async def factory() -> PgQueuer:
    """The queue with its entry points."""
    queue = PgQueuer(AsyncpgDriver(await connected()))

    for name in ("noop", "stamp", "nap"):
        queue.entrypoint(name)(partial(_named, body=getattr(bodies, f"a{name}")))
    return queue


async def _named(job: Job, *, body: object) -> None:
    await body(*json.loads(job.payload))


async def work() -> None:
    """Serve for ever. Not by `pgq run`, whose option for the log level fails in this version."""
    queue = await factory()
    await queue.run(batch_size=500)


def worker(**_places: int | None) -> list[str]:
    return [sys.executable, "-m", "peers.pgqueuer"]


if __name__ == "__main__":
    import uvloop

    uvloop.run(work())
