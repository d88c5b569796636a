"""What one queue worker was told by people, and what it does about it.

Orders come with each heartbeat, and the worker's bell makes it beat at once. This hears them, keeps whether the worker
is quiet, and tells the store what was obeyed, with a stack where one was asked for. `queue_worker.py` asks `quiet`
before it claims. For a worker whose loop does not turn its supervisor answers (`deputy.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from procession.database import Database
from procession.errors import StoreRefused, Unavailable
from procession.orders import Order
from procession.runtime.outage import Patient
from procession.runtime.pulse import Beating

log = logging.getLogger("procession.worker")

REMEMBERED = 16
"""Orders that are known to be done already, though the store still brings them."""


class Orders:
    """The orders of one queue worker. Made and called on its loop.

    Args:
        pulse: says to a supervisor that nobody is to take the place of a worker that was told to stop.
        stop: makes the worker finish what runs and end.
        changed: called when `quiet` has changed.
    """

    def __init__(
        self,
        worker: str,
        database: Database,
        pulse: Beating,
        *,
        stop: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self.quiet: Order | None = None
        """The order by which nothing more is claimed, while it holds."""
        self._worker = worker
        self._database = database
        self._pulse = pulse
        self._stop = stop
        self._changed = changed
        self._known: deque[str] = deque(maxlen=REMEMBERED)
        self._open: asyncio.Queue[Order] = asyncio.Queue(REMEMBERED)

    def hear(self, orders: Sequence[Order]) -> None:
        """Obey what is new. What is known was obeyed, and its word to the store is on its way."""
        for order in orders:
            if order.id in self._known or self._open.full():
                continue
            self._known.append(order.id)
            log.info("told to %s%s", order.verb, f" by {order.by}" if order.by else "")
            self._open.put_nowait(order)
            match order.verb:
                case "quiet" | "resume":
                    self.quiet = order if order.verb == "quiet" else None
                    self._changed()
                case "stop":
                    self._pulse.dismissed()
                    self._stop()
                case "stack":
                    pass  # told by `run`

    async def run(self, patient: Patient, stacks: Callable[[UUID | None], Awaitable[str]]) -> None:
        """Tell the store of each order that was obeyed, one after the other. Ends with the worker."""
        while True:
            order = await self._open.get()
            text = await self._told(order, stacks) if order.verb == "stack" else None
            with suppress(Unavailable, StoreRefused):  # while we stop; with the worker its orders go away
                await patient.ask(self._database.obeyed(self._worker, order.id, text))

    def said(self) -> dict[str, Any]:
        """What the worker says of itself because of them."""
        return {"quiet_at": self.quiet.at, "quiet_by": self.quiet.by} if self.quiet is not None else {}

    @staticmethod
    async def _told(order: Order, stacks: Callable[[UUID | None], Awaitable[str]]) -> str:
        try:
            return await stacks(order.jid)
        except Exception as error:  # a frame may change while it is read; that must not end the worker
            log.exception("the stack could not be read")
            return f"the stack could not be read: {type(error).__name__}: {error}"
