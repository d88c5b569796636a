"""The connections of an app: one per process for sync callers, one per event loop for async ones.

After a fork, or on another loop, there is a new one; a socket is never shared. What belonged to a loop that has ended
is let go, so that a program may call `asyncio.run` as often as it likes. Held by `client.py`; safe from any thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procession.database import AsyncConnection, Connection, Database

if TYPE_CHECKING:
    import asyncio

    from procession.waiter import Waiter

    Here = tuple[int, asyncio.AbstractEventLoop]


class Connections:
    """See above. `budget` is the deadline of one call in seconds."""

    def __init__(self, database: Database, budget: float) -> None:
        self._database = database
        self._budget = budget
        self._by_process: dict[int, Connection] = {}
        self._by_loop: dict[Here, AsyncConnection] = {}
        self._waiters: dict[Here, Waiter] = {}

    def sync(self) -> Connection:
        """The connection of this process."""
        pid = os.getpid()
        found = self._by_process.get(pid)
        return found or self._by_process.setdefault(pid, self._database.connect(self._budget))

    def of_loop(self) -> AsyncConnection:
        """The connection of the running event loop."""
        here = _here()
        found = self._by_loop.get(here)
        if found is None:
            self._forget_ended_loops()
            found = self._by_loop.setdefault(here, self._database.connect_async(self._budget))
        return found

    def waiter(self) -> Waiter:
        """What waits for jobs on behalf of the running event loop."""
        from procession.waiter import Waiter

        here = _here()
        if here not in self._waiters:
            self._waiters[here] = Waiter(self._database, self.of_loop())
        return self._waiters[here]

    def close(self) -> None:
        """Give back what this process holds for sync callers."""
        found = self._by_process.get(os.getpid())
        if found is not None:
            found.close()

    async def close_async(self) -> None:
        """Give back what the running event loop holds."""
        here = _here()
        waiter, connection = self._waiters.pop(here, None), self._by_loop.pop(here, None)
        if waiter is not None:
            await waiter.close()
        if connection is not None:
            await connection.close()

    def _forget_ended_loops(self) -> None:
        for here in [*self._by_loop]:
            if here[1].is_closed():
                self._waiters.pop(here, None)
                self._by_loop.pop(here, None)


def _here() -> Here:
    import asyncio  # who calls has a loop that runs, so it is loaded

    return os.getpid(), asyncio.get_running_loop()
