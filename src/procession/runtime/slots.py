"""How many jobs may be claimed now, and from which queue first. Pure; called by the queue worker once a turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from procession.registry import Registered

Kinds = Literal["loop", "thread", "mixed"]
"""What the served jobs are made of: `async def`, `def`, or both."""


def kinds_served(registry: Iterable[Registered], queues: Collection[str]) -> Kinds:
    """What the jobs that name these queues are made of; all jobs count where none names them."""
    registered = list(registry)
    served = {it.executor for it in registered if it.queue in queues} or {it.executor for it in registered}
    return "mixed" if len(served) != 1 else served.pop()


def claimable(
    kinds: Kinds, *, concurrency: int, threads: int, running: int, in_threads: int, buffered: int, lost: int
) -> int:
    """How many more jobs fit.

    A claim cannot choose between `async def` and `def` jobs, so where a worker may get both, `def` jobs that find no free
    thread wait in a buffer of at most `threads`; while it is full, nothing is claimed.

    Args:
        kinds: what the served jobs are made of.
        concurrency, threads: places for all jobs, and for `def` jobs.
        running: all claimed jobs whose outcome is not known yet, buffered ones included.
        in_threads: those of them that occupy a thread.
        buffered: `def` jobs that wait for one.
        lost: threads written off.
    """
    free = concurrency - running
    free_threads = threads - lost - in_threads - buffered
    if buffered >= threads:
        return 0
    match kinds:
        case "loop":
            return max(free, 0)
        case "thread":
            return max(min(free, free_threads), 0)
        case "mixed":
            return max(min(free, max(free_threads, 0) + threads - buffered), 0)


def rotated(queues: Sequence[str], turn: int) -> list[str]:
    """The queues with another one first each turn, so that none starves another."""
    at = turn % len(queues) if queues else 0
    return [*queues[at:], *queues[:at]]
