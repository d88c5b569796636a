"""Orders to queue workers: claim nothing more, claim again, end, say where you are; and what people did, written down.

A part of `Procession` (`client.py`), each verb beside its `_async` twin. An order rings its worker, which hears it at
once, or at its next heartbeat if the ring was lost (docs/running.md).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from procession.asker import Asker, check_limit
from procession.clock import milliseconds, monotonic
from procession.database import Operation
from procession.errors import NoAnswer, UnknownWorker
from procession.job import parse_jid
from procession.names import check_text
from procession.orders import Order, Stack, new_order
from procession.trail import Deed

T = TypeVar("T")
Span = float | str | timedelta

LOOK = 1.0
"""Seconds between two looks for an answer whose ring may be lost."""


class Commanding(Asker):
    """The verbs that tell workers what to do."""

    def quiet_worker(self, worker: str, by: str = "") -> None:
        """Have a worker claim nothing more; what runs there finishes. It stays alive, and quiet, until `resume_worker`.

        Raises:
            UnknownWorker: no such worker is alive; `app.workers()` lists those that are.
        """
        _heard(worker, self.ask(self._order(worker, new_order("quiet", by=by))))

    async def quiet_worker_async(self, worker: str, by: str = "") -> None:
        """See `quiet_worker`."""
        _heard(worker, await self.ask_async(self._order(worker, new_order("quiet", by=by))))

    def resume_worker(self, worker: str, by: str = "") -> None:
        """Undo `quiet_worker`. Raises UnknownWorker."""
        _heard(worker, self.ask(self._order(worker, new_order("resume", by=by))))

    async def resume_worker_async(self, worker: str, by: str = "") -> None:
        """See `resume_worker`."""
        _heard(worker, await self.ask_async(self._order(worker, new_order("resume", by=by))))

    def stop_worker(self, worker: str, by: str = "") -> None:
        """Have a worker finish what runs, within its grace, and end. Its supervisor starts no other in its place, and
        ends with its last worker. Raises UnknownWorker."""
        _heard(worker, self.ask(self._order(worker, new_order("stop", by=by))))

    async def stop_worker_async(self, worker: str, by: str = "") -> None:
        """See `stop_worker`."""
        _heard(worker, await self.ask_async(self._order(worker, new_order("stop", by=by))))

    def stack(self, worker: str, jid: str | UUID | None = None, timeout: Span = 10, by: str = "") -> Stack:
        """Where the code of a worker's jobs is now: of one job with its jid, else of all. Places and source, no values.

        A worker answers at once. For one whose event loop is blocked its supervisor does, within about seven seconds,
        with the stacks of all threads, also while C code keeps the interpreter's lock.

        Raises:
            UnknownWorker: no such worker is alive.
            NoAnswer: it did not answer in time; `app.last_stack` may have the answer later.
        """
        order, connection = new_order("stack", by=by, jid=parse_jid(jid) if jid else None), self.connection()
        deadline = monotonic() + milliseconds(timeout, "timeout") / 1_000
        _heard(worker, self.ask(self._order(worker, order)))
        while (left := deadline - monotonic()) > 0:
            connection.wait([f"@{order.id}"], min(left, LOOK))
            found = self.ask(self.database.stacks([worker]))[0]
            if found is not None and found.order == order.id:
                return found
        raise _unanswered(worker)

    async def stack_async(
        self, worker: str, jid: str | UUID | None = None, timeout: Span = 10, by: str = ""
    ) -> Stack:
        """See `stack`."""
        order, connection = new_order("stack", by=by, jid=parse_jid(jid) if jid else None), self.connection_async()
        deadline = monotonic() + milliseconds(timeout, "timeout") / 1_000
        _heard(worker, await self.ask_async(self._order(worker, order)))
        while (left := deadline - monotonic()) > 0:
            await connection.wait([f"@{order.id}"], min(left, LOOK))
            found = (await self.ask_async(self.database.stacks([worker])))[0]
            if found is not None and found.order == order.id:
                return found
        raise _unanswered(worker)

    def ask_stack(self, worker: str, jid: str | UUID | None = None, by: str = "") -> str:
        """Ask for a stack and do not wait: `last_stack` has it in a moment. Returns the order's id. Raises
        UnknownWorker."""
        order = new_order("stack", by=by, jid=parse_jid(jid) if jid else None)
        _heard(worker, self.ask(self._order(worker, order)))
        return order.id

    async def ask_stack_async(self, worker: str, jid: str | UUID | None = None, by: str = "") -> str:
        """See `ask_stack`."""
        order = new_order("stack", by=by, jid=parse_jid(jid) if jid else None)
        _heard(worker, await self.ask_async(self._order(worker, order)))
        return order.id

    def last_stack(self, worker: str) -> Stack | None:
        """The last stack that a worker has told; kept for an hour at most, and while it lives."""
        return self.ask(self.database.stacks([worker]))[0]

    async def last_stack_async(self, worker: str) -> Stack | None:
        """See `last_stack`."""
        return (await self.ask_async(self.database.stacks([worker])))[0]

    # The trail

    def trail(self, *, before: int = 0, limit: int = 50) -> list[Deed]:
        """What people did through the dashboard, its API and the command line, the newest first: up to `limit` deeds
        with a smaller `number` than `before`. 5,000 are kept, each for 90 days.

        Raises:
            ConfigError: `limit` is not between 1 and 1,000.
        """
        return self.ask(self.database.trail(before=before, limit=check_limit(limit, 1_000)))

    async def trail_async(self, *, before: int = 0, limit: int = 50) -> list[Deed]:
        """See `trail`."""
        return await self.ask_async(self.database.trail(before=before, limit=check_limit(limit, 1_000)))

    def write_trail(self, *deeds: Deed) -> None:
        """Write down what somebody did. The dashboard and the command line do; so may a tool of yours."""
        self.ask(self.database.write_trail(deeds))

    async def write_trail_async(self, *deeds: Deed) -> None:
        """See `write_trail`."""
        await self.ask_async(self.database.write_trail(deeds))

    # Within

    def _order(self, worker: str, order: Order) -> Operation[list[bool]]:
        return self.database.order([check_text(worker, "worker")], order)


def _heard(worker: str, left: list[bool]) -> None:
    if not left[0]:
        raise UnknownWorker(f"no worker {worker} is alive; `procession workers` lists those that are")


def _unanswered(worker: str) -> NoAnswer:
    return NoAnswer(f"worker {worker} has not answered yet; ask again, or see `procession workers` for its last beat")
