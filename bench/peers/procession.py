"""Ourselves, as a user would run us: stock settings, logging at its default, the command `procession worker`."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import bodies
from bodies import TEXT, anap, anoop, astamp, burn, nap
from measure import TAG

from procession import Procession

LEAST_ONCE = True
SETTINGS = "stock"

app = Procession(os.environ.get("BENCH_URL", "memory://"), namespace=TAG)
noop = app.job(name="noop")(anoop)
noop_in_thread = app.job(name="noop_in_thread")(bodies.noop)
stamp = app.job(name="stamp")(astamp)
wait = app.job(name="anap")(anap)
nap_in_thread = app.job(name="nap", queue="threads")(nap)
burn_in_process = app.job(name="burn", queue="processes", executor="process")(burn)


def left(store: object) -> int:
    """Jobs not settled yet, read past the library so that every contestant is watched alike."""
    names = ("enqueued", "processed", "failed", "cancelled")
    enqueued, *ended = (int(it or 0) for it in store.hmget(f"{{{TAG}:0}}:counters", *names))  # type: ignore[attr-defined]
    return enqueued - sum(ended)


def enqueue_one(count: int) -> None:
    """One call, one job."""
    for number in range(count):
        noop.enqueue(number, TEXT)


async def enqueue_one_async(count: int) -> None:
    """One await, one job."""
    for number in range(count):
        await noop.enqueue_async(number, TEXT)


async def enqueue_gathered(count: int) -> None:
    """As many at once as are asked for."""
    import asyncio

    await asyncio.gather(*[noop.enqueue_async(number, TEXT) for number in range(count)])


def enqueue_bulk(count: int) -> None:
    """The documented way to enqueue many."""
    app.enqueue_many([noop.bind(number, TEXT) for number in range(count)])


def enqueue_bulk_def(count: int) -> None:
    """The same of `def` jobs, which run in threads."""
    app.enqueue_many([noop_in_thread.bind(number, TEXT) for number in range(count)])


def enqueue_bulk_both(count: int) -> None:
    """The same of `def` and `async def` jobs in turns, in one queue."""
    app.enqueue_many([(noop_in_thread if number % 2 else noop).bind(number, TEXT) for number in range(count)])


def enqueue_stamp(due: float) -> None:
    """One job that writes down how late it is."""
    stamp.enqueue(due)


def enqueue_delayed(delays: list[float], now: float) -> None:
    """The same, each due by its own delay."""
    app.enqueue_many([stamp.using(at=datetime.fromtimestamp(now + delay, UTC)).bind(now + delay) for delay in delays])


def enqueue_naps(count: int, seconds: float) -> None:
    """Jobs that wait on the loop."""
    app.enqueue_many([wait.bind(seconds) for _ in range(count)])


def enqueue_thread_naps(count: int, seconds: float) -> None:
    """Jobs that wait in a thread."""
    app.enqueue_many([nap_in_thread.bind(seconds) for _ in range(count)])


def enqueue_burns(count: int, rounds: int) -> None:
    """Jobs that keep a core busy, each in a job process."""
    app.enqueue_many([burn_in_process.bind(rounds) for _ in range(count)])


def verbs(waiting: int, count: int) -> dict[str, Callable[[], object]]:
    """What the backlog figure asks, each once a call and at most `count` times, while so many jobs wait: in a namespace
    of their own, those that are found and removed spread over the whole queue."""
    app = Procession(os.environ["BENCH_URL"], namespace=f"{TAG}-{waiting}")
    noop, database = app.job(name="noop")(anoop), app.database
    fresh = [handle.jid for handle in app.enqueue_many([noop.bind(number, TEXT) for number in range(waiting)])]
    fresh = random.Random(1).sample(fresh[count:], 2 * count)  # the first are claimed
    return {
        "enqueue": lambda: noop.enqueue(1, TEXT),
        "claim": lambda: app.ask(database.claim(["default"], "bench", os.urandom(16), limit=1, lease=15_000)),
        "find": lambda: app.find_job(fresh[0]),
        "remove": lambda: app.remove(fresh.pop()),
        "cancel": lambda: app.cancel(fresh.pop()),
        "stats": app.stats,
    }


def worker(
    *, processes: int = 1, concurrency: int | None = None, threads: int | None = None, burning: int | None = None
) -> list[str]:
    """The command that performs jobs; with `burning`, those of a queue for so many job processes."""
    command = [sys.executable, "-m", "procession", "worker", "peers.procession:app", "--processes", str(processes)]
    if concurrency:
        command += ["--concurrency", str(concurrency)]
    if threads:
        command += ["--threads", str(threads)]
    if burning:
        command += ["--job-processes", str(burning)]
    return [*command, "--queue", "processes" if burning else "threads" if threads else "default"]
