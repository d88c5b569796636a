"""The verbs of orders and of the trail, as scripts with arguments. See `procession.database.orders` and `.trail`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from procession.database.operation import Operation
from procession.orders import HEARD_WITHIN, Order, Stack, cut
from procession.trail import KEPT, KEPT_FOR, Deed

T = TypeVar("T")


class OrderScripts(ABC):
    """`order`, `orders`, `obeyed`, `stacks`; `write_trail`, `trail`."""

    @abstractmethod
    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]: ...

    def order(self, workers: Sequence[str], order: Order) -> Operation[list[bool]]:
        """See `Orders.order`."""
        arguments = [order.kind, order.id, msgspec.json.encode(order), HEARD_WITHIN, *workers]
        return self._ask("order", arguments, lambda reply: [bool(left) for left in reply])

    def orders(self, workers: Sequence[str]) -> Operation[list[tuple[Order, ...]]]:
        """See `Orders.orders`."""
        return self._ask("orders", [*workers], lambda reply: [orders_from(row) for row in reply])

    def obeyed(self, worker: str, order: str, stack: str | None = None) -> Operation[bool]:
        """See `Orders.obeyed`."""
        answer = b"" if stack is None else f"{order} {cut(stack)}".encode()
        return self._ask("obeyed", [worker, order, answer, HEARD_WITHIN], bool)

    def stacks(self, workers: Sequence[str]) -> Operation[list[Stack | None]]:
        """See `Orders.stacks`."""
        return self._ask("stacks", [*workers], lambda reply: [_stack(row) for row in reply])

    def write_trail(self, deeds: Sequence[Deed]) -> Operation[None]:
        """See `Trail.write_trail`."""
        return self._ask("write_trail", [KEPT, KEPT_FOR, *map(msgspec.json.encode, deeds)], lambda _: None)

    def trail(self, *, before: int = 0, limit: int = 50) -> Operation[list[Deed]]:
        """See `Trail.trail`."""
        return self._ask("trail", [before, limit, KEPT_FOR], lambda reply: [_deed(row) for row in reply])


def orders_from(rows: Iterable[bytes]) -> tuple[Order, ...]:
    """Orders as they are stored: when, the id, JSON. One that makes no sense here (of a newer release) is left out."""
    found = []
    for row in rows:
        at, _, described = row.split(b" ", 2)
        try:
            found.append(replace(msgspec.json.decode(described, type=Order), at=int(at)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return tuple(found)


def _stack(row: bytes) -> Stack | None:
    if not row:
        return None
    at, order, text = row.split(b" ", 2)
    return Stack(order=order.decode(), text=text.decode("utf-8", "replace"), at=int(at))


def _deed(row: bytes) -> Deed:
    number, at = int.from_bytes(row[:6], "big"), int.from_bytes(row[6:12], "big")
    try:
        return replace(msgspec.json.decode(row[12:], type=Deed), at=at, number=number)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Deed(who="", what="(unreadable)", on=row[12:].decode(errors="replace"), at=at, number=number)
