"""The verb about limits, over `Store`. See `procession.database.limits`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from procession.database.limits import HOLDERS_SHOWN, Occupancy
from procession.database.memory.store import Store
from procession.database.operation import Operation
from procession.job import State

T = TypeVar("T")


class LimitVerbs(ABC):
    """`occupancy`."""

    store: Store

    @abstractmethod
    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""

    def occupancy(self, jids: Sequence[UUID]) -> Operation[list[Occupancy | None]]:
        """See `Limits.occupancy`."""
        return self.operation(lambda: [self._occupancy(jid) for jid in jids])

    def _occupancy(self, jid: UUID) -> Occupancy | None:
        record = self.store.jobs.get(jid)
        if record is None or (slot := record.slot) is None:
            return None
        held = sorted(self.store.slots.held.get(slot.limit, ()), key=lambda it: it.bytes)
        blocked = self.store.in_order(State.BLOCKED)
        waiting = [it.jid for it in blocked if it.slot is not None and it.slot.limit == slot.limit]
        return Occupancy(
            most=self.store.slots.most.get(slot.limit, slot.most),
            taken=len(held),
            holders=tuple(held[:HOLDERS_SHOWN]),
            ahead=waiting.index(jid) if jid in waiting else None,
            waiting=len(waiting),
        )
