"""A program that enqueues, as a careful one would: each job with a jid of its own, asked again with the same jid."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from procession import EnqueueError, State
from procession.job import new_jid
from procession.worker import Caller
from tests.chaos.journal import Ledger


class Order:
    """One job to enqueue: whose, with which arguments, and what it should end as."""

    def __init__(self, caller: Caller, *arguments: object, expected: State = State.PROCESSED) -> None:
        self.jid = new_jid()
        self.call = caller.using(jid=self.jid).bind(*arguments)
        self.expected = expected
        self.app = caller.app


def enqueue(order: Order, ledger: Ledger, *, patience: float) -> float:
    """Enqueue one job and write down what is known of it. Returns the seconds that the longest single call took.

    It is asked again for `patience` seconds; with 0 the first answer stands.
    """
    ledger.asked(order.jid, order.expected)
    deadline = time.monotonic() + patience
    longest = 0.0
    while True:
        began = time.monotonic()
        try:
            order.app.enqueue(order.call)
        except EnqueueError as error:
            ledger.told(order.jid, error.stored)
        except Exception as error:  # nothing else may come out of an enqueue: it is a breach, and the run goes on
            ledger.told(order.jid, "unknown")
            ledger.odd(error)
        else:
            ledger.told(order.jid, "yes")
            return max(longest, time.monotonic() - began)
        longest = max(longest, time.monotonic() - began)
        if time.monotonic() > deadline:
            return longest
        time.sleep(0.05)


class Producer(threading.Thread):
    """Enqueues one order after the other, `rate` a second, until they are done or it is told to stop."""

    def __init__(self, orders: Iterable[Order], ledger: Ledger, *, rate: float, patience: float) -> None:
        super().__init__(name="chaos-producer", daemon=True)
        self._waiting = iter(orders)
        self.orders: list[Order] = []
        """Those that were begun."""
        self._ledger = ledger
        self._pause = 1 / rate
        self._patience = patience
        self._stopped = threading.Event()
        self.longest = 0.0
        """The longest single call to `enqueue`, in seconds."""
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            due = time.monotonic()
            for order in self._waiting:
                self.orders.append(order)
                self.longest = max(self.longest, enqueue(order, self._ledger, patience=self._patience))
                due = max(due + self._pause, time.monotonic() - 1)
                if self._stopped.wait(max(due - time.monotonic(), 0)):
                    return
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Enqueue no more, and wait for the call under way. Raises what went wrong in the thread."""
        self._stopped.set()
        self.finish()

    def finish(self, seconds: float = 120) -> None:
        """Wait until all orders are enqueued."""
        self.join(seconds)
        if self.error is not None:
            raise self.error
        if self.is_alive():
            raise AssertionError("the producer did not come to its end: a call hangs, or the store is away")


def enqueue_all(orders: Sequence[Order], ledger: Ledger) -> None:
    """Enqueue many in few trips, on a healthy way to the store."""
    for order in orders:
        ledger.asked(order.jid, order.expected)
    for first in range(0, len(orders), 5_000):
        part = orders[first : first + 5_000]
        part[0].app.enqueue_many(order.call for order in part)
        for order in part:
            ledger.told(order.jid, "yes")
