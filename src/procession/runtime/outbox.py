"""Outcomes that wait to be settled: kept until the store has accepted or refused each one, however long it is away.

Bounded from outside: nothing is claimed without a trip to the store, and each trip takes outcomes along first; so
it never holds more than the jobs that a queue worker had when the store went away. Filled by attempts, emptied by turns.
"""

from __future__ import annotations

from procession.job import Outcome

BATCH = 500
"""Most outcomes that one settle carries …"""
BATCH_BYTES = 4 * 1024 * 1024
"""… and about how many bytes of results and errors, so that one trip stays within its deadline."""


class Outbox:
    """A queue of outcomes. What is `taken` stays until `settled` says that the store has answered."""

    def __init__(self) -> None:
        self._waiting: list[Outcome] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, outcome: Outcome) -> None:
        """Add one outcome."""
        self._waiting.append(outcome)

    def taken(self) -> list[Outcome]:
        """The outcomes of the next trip, oldest first; at least one when there is any."""
        count = size = 0
        for outcome in self._waiting[:BATCH]:
            size += len(outcome.value or b"") + len(outcome.failure or b"")
            if count and size > BATCH_BYTES:
                break
            count += 1
        return self._waiting[:count]

    def settled(self, count: int) -> None:
        """The store has answered for the first `count` outcomes."""
        del self._waiting[:count]
