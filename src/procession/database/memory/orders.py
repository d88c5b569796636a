"""The verbs of orders and of the trail, over `Store`. See `procession.database.orders` and `.trail`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from procession.database import Operation
from procession.database.memory.store import Store
from procession.orders import HEARD_WITHIN, Order, Stack, cut
from procession.trail import KEPT, KEPT_FOR, Deed

T = TypeVar("T")


class OrderVerbs(ABC):
    """`order`, `orders`, `obeyed`, `stacks`; `write_trail`, `trail`."""

    store: Store
    now: Callable[[], int]

    @abstractmethod
    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""

    def order(self, workers: Sequence[str], order: Order) -> Operation[list[bool]]:
        """See `Orders.order`."""

        def leave(worker: str) -> bool:
            if worker not in self.store.leases:
                return False
            its = self.store.orders_of(worker, self.now())
            its.waiting[order.kind], its.until = replace(order, at=self.now()), self.now() + HEARD_WITHIN
            self.store.ring(f"@{worker}", self.now())
            return True

        return self.operation(lambda: [leave(worker) for worker in workers])

    def orders(self, workers: Sequence[str]) -> Operation[list[tuple[Order, ...]]]:
        """See `Orders.orders`."""
        return self.operation(lambda: [self.store.waiting_for(worker, self.now()) for worker in workers])

    def obeyed(self, worker: str, order: str, stack: str | None = None) -> Operation[bool]:
        """See `Orders.obeyed`."""

        def run() -> bool:
            if worker not in self.store.leases:
                return False
            its = self.store.orders_of(worker, self.now())
            if stack is not None:
                its.stack, its.until = Stack(order=order, text=cut(stack), at=self.now()), self.now() + HEARD_WITHIN
                self.store.ring(f"@{order}", self.now())
            found = [kind for kind, waiting in its.waiting.items() if waiting.id == order]
            for kind in found:
                del its.waiting[kind]
            return bool(found)

        return self.operation(run)

    def stacks(self, workers: Sequence[str]) -> Operation[list[Stack | None]]:
        """See `Orders.stacks`."""
        return self.operation(lambda: [self.store.orders_of(worker, self.now()).stack for worker in workers])

    def write_trail(self, deeds: Sequence[Deed]) -> Operation[None]:
        """See `Trail.write_trail`."""

        def run() -> None:
            trail = self.store.trail
            for it in deeds:
                trail.append(replace(it, at=self.now(), number=trail[-1].number + 1 if trail else 1))
            self.store.trail = [it for it in trail[-KEPT:] if it.at > self.now() - KEPT_FOR]

        return self.operation(run)

    def trail(self, *, before: int = 0, limit: int = 50) -> Operation[list[Deed]]:
        """See `Trail.trail`."""

        def run() -> list[Deed]:
            last = self.now() - KEPT_FOR
            kept = [it for it in self.store.trail if it.at > last and (not before or it.number < before)]
            return kept[::-1][:limit]

        return self.operation(run)
