"""Ten processes that fire schedules, each with a clock of its own, killed at random. Run with `python -m`.

An hour passes in a few seconds: the clock that they give the store is moved on by this process, and off by up to half a
minute in each. They are forked from this one, which has no threads, so that a new one is there in a moment. Prints how
many were killed; those that are left go on until stdin is closed.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable

from procession.database import Database
from procession.database import open as open_database
from procession.runtime.outage import Patient
from procession.runtime.scheduling import Scheduler

BEGIN = 1_800_000_000_000
HOUR = 3_600_000
STEPS = 24
"""The hour passes in so many steps, and in each a process is killed."""
SKEW = 30_000
PROCESSES = 10
PAUSE = 0.02
"""Longest pause between two looks of one process, in seconds."""
STEP = 0.06
"""Longest time between a step and the kill."""

passed = mmap.mmap(-1, 8)
"""How much of the hour has passed, in milliseconds; shared by all."""


def clock(skew: int) -> Callable[[], int]:
    """What a process takes for the time, in milliseconds: never beyond the hour."""
    return lambda: min(BEGIN + int.from_bytes(passed[:]) + skew, BEGIN + HOUR)


async def look_on(database: Database) -> None:
    """Look at what is due, again and again, as a queue worker does."""
    connection = database.connect_async(30.0)
    patient = Patient(connection, lambda: None, 1.0, asyncio.Event(), lambda: None)
    scheduler = Scheduler(database, {})
    while True:
        await scheduler.look(patient)
        await asyncio.sleep(random.uniform(0, PAUSE))


def started(url: str, namespace: str, seed: int) -> int:
    """A process, and what it is known by."""
    pid = os.fork()
    if pid == 0:
        random.seed(seed)
        now = clock(random.randint(-SKEW, SKEW))
        asyncio.run(look_on(open_database(url, namespace=namespace, now=now)))
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main(url: str, namespace: str, seed: int) -> None:
    chance = random.Random(seed)
    living = [started(url, namespace, seed + n) for n in range(PROCESSES)]
    for step in range(1, STEPS + 1):
        passed[:] = (HOUR * step // STEPS + SKEW * (step == STEPS)).to_bytes(8)
        time.sleep(chance.uniform(0, STEP))
        kill(living.pop(chance.randrange(PROCESSES)))
        living.append(started(url, namespace, seed + PROCESSES + step))
    print(STEPS, flush=True)
    sys.stdin.read()
    for pid in living:
        kill(pid)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
