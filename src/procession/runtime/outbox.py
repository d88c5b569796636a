"""Outcomes that wait to be settled: kept until the store has accepted or refused each one, however long it is away.

Bounded: nothing is claimed while it overflows, so it holds at most what one trip carries and what runs by then.
"""

from __future__ import annotations

from collections.abc import Iterable

from procession.job import Outcome

BATCH = 1_400
"""Most outcomes that one settle carries, and most jobs that one claim takes: half of what a worker of 100 places holds
where jobs are short, since two halves take turns."""


class Outbox:
    """A queue of outcomes. What is `taken` stays until `settled` says that the store has answered."""

    def __init__(self) -> None:
        self._waiting: list[Outcome] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def overflows(self) -> bool:
        """There is more than one trip carries. Then another follows that one by itself, and asks what waited for it."""
        return len(self._waiting) > BATCH

    def put(self, outcomes: Iterable[Outcome]) -> None:
        """Add some outcomes."""
        self._waiting += outcomes

    def taken(self) -> list[Outcome]:
        """The outcomes of the next trip, oldest first."""
        return self._waiting[:BATCH]

    def settled(self, count: int) -> None:
        """The store has answered for the first `count` outcomes."""
        del self._waiting[:count]
