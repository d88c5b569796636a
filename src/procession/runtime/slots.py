"""How many jobs may be claimed now: the places that are free. Pure; called once a turn."""

from __future__ import annotations

from typing import Literal

Kinds = Literal["loop", "thread", "mixed"]


def claimable(
    kinds: Kinds, *, concurrency: int, threads: int, running: int, in_threads: int, buffered: int, lost: int
) -> int:
    """How many more jobs fit.

    A claim cannot choose between `async def` and `def` jobs, so where a worker serves both, `def` jobs that find
    no free thread wait
    in a buffer of at most `threads`; while it is full nothing is claimed.

    Args:
        kinds: what the served jobs are made of.
        running: all claimed jobs whose outcome is not settled yet, buffered ones included.
        in_threads: those of them that occupy a thread.
        buffered: `def` jobs that wait for one.
        lost: threads written off.
    """
    free = concurrency - running
    if kinds == "loop":
        return max(free, 0)
    free_threads = threads - lost - in_threads - buffered
    if kinds == "thread":
        return max(min(free, free_threads), 0)
    return max(min(free, max(free_threads, 0) + threads - buffered if buffered < threads else 0), 0)


def rotated(queues: list[str], turn: int) -> list[str]:
    """The queues with another one first each turn, so that none starves another."""
    at = turn % len(queues) if queues else 0
    return queues[at:] + queues[:at]
