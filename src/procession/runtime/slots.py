"""How many jobs may be claimed now: the places that are free. Pure; called once a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Places(NamedTuple):
    """The places of one bounded executor, threads for example."""

    size: int
    taken: int
    """Those that run a job, and those that are lost."""
    waiting: int
    """Claimed jobs that wait for one."""
    ahead: int = 0
    """How many more may wait, because that many places are free in a moment."""


def shared(concurrency: int, served: Sequence[Places]) -> bool:
    """Several kinds could each fill the worker, so they share its places to the letter."""
    return sum(places.size >= concurrency for places in served) > 1


def claimable(concurrency: int, executing: int, served: Sequence[Places], *, coming: int = 0) -> int:
    """How many more jobs fit, beside those that are `coming`.

    A claim cannot choose between kinds of jobs, so where a worker serves several, those that find no free place of
    their kind wait in a buffer of at most as many. While one is full nothing is claimed; else what ends in a moment
    may be followed by jobs of any kind, and what then waits too long is given back.

    What is claimed ahead begins beside what runs where it is of another kind. Kinds that share so few places that each
    could fill them all share them to the letter, so for those nothing is claimed ahead.

    Args:
        concurrency: how many jobs a worker may hold at all, without those claimed ahead.
        executing: how many it holds.
        served: the bounded executors that the served jobs need.
    """
    ahead = 0 if shared(concurrency, served) else sum(places.ahead for places in served)
    most = concurrency + ahead
    free = most - executing
    for places in served:
        fit = max(places.size + ahead - places.taken - places.waiting, 0)
        if len(served) > 1:
            if places.waiting >= places.size + places.ahead:
                return 0
            fit += max(places.size - places.waiting, 0)
        free = min(free, fit)
    free = max(free - coming, 0)
    # Two halves take turns: one is performed while the other is on its way. Claimed whole, nothing ran meanwhile.
    return min(free, -(-most // 2)) if ahead else free
