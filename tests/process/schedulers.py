"""Ten processes that fire schedules, each with a clock of its own, killed at random. Run with `python -m`.

An hour passes in a few seconds: the clock that they give the store is this machine's, faster, and off by up to half a
minute in each. The processes are forked from this one, which has no threads, so that a new one is there in a moment.
Prints how many were killed.
"""

from __future__ import annotations

import asyncio
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
SPEED = 1_200
SKEW = 30_000
PROCESSES = 10
PAUSE = 0.02
"""Longest pause between two looks of one process, in seconds."""
KILLED_EVERY = 0.06


def clock(began: float, skew: int) -> Callable[[], int]:
    """What a process takes for the time, in milliseconds: never beyond the hour."""
    return lambda: min(BEGIN + round((time.monotonic() - began) * 1_000 * SPEED) + skew, BEGIN + HOUR)


async def look_on(database: Database) -> None:
    """Look at what is due, again and again, as a queue worker does."""
    connection = database.connect_async(30.0)
    patient = Patient(connection, lambda: None, 1.0, asyncio.Event(), lambda: None)
    scheduler = Scheduler(database, list)
    while True:
        await scheduler.look(patient)
        await asyncio.sleep(random.uniform(0, PAUSE))


def started(url: str, namespace: str, began: float, seed: int) -> int:
    """A process, and what it is known by."""
    pid = os.fork()
    if pid == 0:
        random.seed(seed)
        now = clock(began, random.randint(-SKEW, SKEW))
        asyncio.run(look_on(open_database(url, namespace=namespace, now=now)))
    return pid


def main(url: str, namespace: str, seed: int) -> None:
    chance, killed, began = random.Random(seed), 0, time.monotonic()
    living = [started(url, namespace, began, seed + n) for n in range(PROCESSES)]
    while (time.monotonic() - began) * SPEED * 1_000 < HOUR + SKEW:
        time.sleep(chance.uniform(0, KILLED_EVERY))
        victim = living.pop(chance.randrange(PROCESSES))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        killed += 1
        living.append(started(url, namespace, began, seed + PROCESSES + killed))
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(killed)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
