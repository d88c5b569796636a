"""The verbs of orders: people give them, queue workers and their supervisors hear and answer them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from procession.database.operation import Operation
from procession.orders import Order, Stack


class Orders(Protocol):
    """What workers are told to do."""

    def order(self, workers: Sequence[str], order: Order) -> Operation[list[bool]]:
        """Leave an order for workers and ring their bells; False for each that the store does not know.

        - Of `quiet`, `resume` and `stop` the latest takes the place of one that was not heard yet; so does a `stack`.
        - It waits until `obeyed` names it, for an hour at most, and goes away with its worker.
        - The worker's next heartbeat answers with it.
        """
        ...

    def orders(self, workers: Sequence[str]) -> Operation[list[tuple[Order, ...]]]:
        """What waits to be heard by each of these workers, two orders at most."""
        ...

    def obeyed(self, worker: str, order: str, stack: str | None = None) -> Operation[bool]:
        """Say that a worker has done what the order with this id asked for. False when it does not wait any more.

        - With a stack: it is kept, 32 kB of it, as the worker's last one, and the bell `@` + the order's id rings.
        - A worker that the store does not know leaves nothing behind.
        """
        ...

    def stacks(self, workers: Sequence[str]) -> Operation[list[Stack | None]]:
        """The last stack of each of these workers; None where there is none."""
        ...
