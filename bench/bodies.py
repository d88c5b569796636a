"""What the jobs do: the same bodies for every contestant, in the two colours of Python.

A contestant registers these functions under its own decorator. Nothing here knows a library.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

TEXT = "twenty characters...."[:20]
"""Beside an int, the argument of every job whose cost is measured."""


def noop(number: int, text: str) -> None:
    """Nothing."""


async def anoop(number: int, text: str) -> None:
    """Nothing, on the loop."""


def stamp(due: float) -> None:
    """Write down how long after `due` (seconds since the epoch) this began, in milliseconds, a line per job."""
    late = (time.time() - due) * 1_000
    with Path(os.environ["BENCH_STAMPS"]).open("a", encoding="ascii") as stamps:
        stamps.write(f"{late:.3f}\n")


async def astamp(due: float) -> None:
    """`stamp`, on the loop."""
    stamp(due)


def nap(seconds: float) -> None:
    """Wait, as a job does that asks another machine."""
    time.sleep(seconds)


async def anap(seconds: float) -> None:
    """`nap`, on the loop."""
    import asyncio  # not for programs whose client does without

    await asyncio.sleep(seconds)


def burn(rounds: int) -> int:
    """Keep one core busy: about 20 ms at 200,000 rounds."""
    value = 1
    for number in range(rounds):
        value = (value * 31 + number) & 0xFFFFFFFF
    return value
