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


def claimable(free: int, served: Sequence[Places]) -> int:
    """How many more jobs fit.

    A claim cannot choose between kinds of jobs, so where a worker serves several, those that find no free place of
    their kind wait in a buffer of at most as many. While one is full nothing is claimed; else what ends in a moment
    may be followed by jobs of any kind, and what then waits too long is given back.

    Args:
        free: how many more jobs this worker may hold at all.
        served: the bounded executors that the served jobs need.
    """
    ahead = sum(places.ahead for places in served)
    for places in served:
        fit = max(places.size + ahead - places.taken - places.waiting, 0)
        if len(served) > 1:
            if places.waiting >= places.size + places.ahead:
                return 0
            fit += max(places.size - places.waiting, 0)
        free = min(free, fit)
    return max(free, 0)
