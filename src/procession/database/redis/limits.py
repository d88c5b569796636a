"""The verb about limits as a script with arguments. See `procession.database.limits`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from procession.database.limits import HOLDERS_SHOWN, Occupancy
from procession.database.operation import Operation

T = TypeVar("T")


class LimitVerbs(ABC):
    """`occupancy`."""

    @abstractmethod
    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]: ...

    def occupancy(self, jids: Sequence[UUID]) -> Operation[list[Occupancy | None]]:
        """See `Limits.occupancy`."""
        words = [HOLDERS_SHOWN, *(jid.bytes for jid in jids)]
        return self._ask("occupancy", words, lambda reply: [row and _occupancy(*row) for row in reply])


def _occupancy(most: int, taken: int, waiting: int, ahead: int, *holders: bytes) -> Occupancy:
    return Occupancy(
        most=most,
        taken=taken,
        holders=tuple(UUID(bytes=jid) for jid in holders),
        ahead=None if ahead < 0 else ahead,
        waiting=waiting,
    )
