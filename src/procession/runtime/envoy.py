"""What the supervisor says to the store, from a thread of its own: who lives, who died, and how.

The supervisor must never wait for the store: its children die, and signals come, while the store is silent. So it
leaves its messages here. Leases to be extended go out in one call for all children; a death is said until it was
heard. One connection, one question at a time, each within the budget.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque

import msgspec

from procession.database import Connection, Database
from procession.errors import DatabaseError
from procession.job import Crash
from procession.orders import Order

log = logging.getLogger("procession.worker")

PAUSE = 2.0
"""Longest pause in seconds before a death that was not heard is said again; drawn anew each time."""


class Envoy:
    """Carries messages to the store until it is closed.

    Args:
        lease: how long a lease is extended, in milliseconds.
        budget: seconds that one call may take.
    """

    def __init__(self, database: Database, *, lease: int, budget: float) -> None:
        self._database = database
        self._lease = lease
        self._budget = budget
        self._alive: set[str] = set()
        self._dead: dict[str, Crash | None] = {}
        self._answers: list[tuple[str, str, str]] = []
        self._orders: deque[tuple[str, Order]] = deque(maxlen=1_000)
        self._closing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="procession-envoy", daemon=True)
        self._thread.start()

    def alive(self, workers: set[str]) -> None:
        """Extend the leases of these. What is not heard is forgotten: it is said again while it is true."""
        with self._news:
            self._alive |= workers
            self._news.notify()

    def died(self, worker: str, crash: Crash | None) -> None:
        """Take back what this worker held; without a crash it only left."""
        with self._news:
            self._dead[worker] = crash
            self._news.notify()

    def heard(self) -> list[tuple[str, Order]]:
        """What waits to be heard by workers that were said to be alive: they are silent themselves."""
        heard = [*self._orders]
        self._orders.clear()
        return heard

    def answer(self, worker: str, order: str, stack: str) -> None:
        """Give a worker's answer to an order. What the store does not hear is forgotten: it asks again."""
        with self._news:
            self._answers.append((worker, order, stack))
            self._news.notify()

    def close(self) -> None:
        """Say what is left to be said, within one budget and a bit, and end."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(2 * self._budget + 1)
        if self._dead:
            log.warning("the store was not told of %d deaths; it finds out when the leases end", len(self._dead))

    def _run(self) -> None:
        connection = self._database.connect(self._budget)
        heard, last = True, False
        while not last:
            with self._news:
                if not heard:
                    self._news.wait_for(lambda: self._closing, random.uniform(0.1, PAUSE))
                self._news.wait_for(lambda: self._alive or self._dead or self._answers or self._closing)
                last = self._closing
                alive, self._alive = self._alive, set()
                answers, self._answers = self._answers, []
                dead = [*self._dead.items()]
            try:
                self._say(connection, alive, dead)
                for worker, order, stack in answers:
                    connection.ask(self._database.obeyed(worker, order, stack))
                heard = True
            except (DatabaseError, OSError):  # the store is away, or no descriptor is left
                heard = False  # no lease ends while the store is away that is not resumed
        connection.close()

    def _say(self, connection: Connection, alive: set[str], dead: list[tuple[str, Crash | None]]) -> None:
        if alive:
            silent = sorted(alive)
            _, waiting = connection.ask(self._database.extend(silent, lease=self._lease), self._database.orders(silent))
            self._orders.extend((worker, it) for worker, its in zip(silent, waiting, strict=True) for it in its)
        if not dead:
            return
        held = {worker.id: worker.running for worker in connection.ask(self._database.workers())}
        for worker, crash in dead:
            if crash is not None:
                crash = msgspec.structs.replace(crash, beside=max(held.get(worker, 0) - 1, 0))
            connection.ask(self._database.leave(worker, crash=crash))
            with self._news:
                del self._dead[worker]
