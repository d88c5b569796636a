"""Waiting for jobs on an event loop: all who wait there share one bell, and one connection that is blocked.

Made by `connections.py`, asked by `handle.py`. It is loaded with the first of them: `asyncio` is half of what importing
the library would cost a program that only enqueues.
"""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from procession.clock import monotonic
from procession.database import AsyncConnection, Database
from procession.errors import Unavailable
from procession.handle import BLOCK
from procession.job import State


class Waiter:
    """All waiting callers of one event loop behind one bell: one blocked connection, however many jobs are awaited."""

    def __init__(self, database: Database, connection: AsyncConnection) -> None:
        self._database = database
        self._connection = connection
        self._id = uuid4().hex
        self._awaited: dict[UUID, set[asyncio.Future[State | None]]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def final_state(self, jid: UUID, deadline: float | None = None) -> State | None:
        """The final state of a job once it has one; None when it is not there.

        It is read once in any case. Raises TimeoutError when the deadline, on the scale of `clock.monotonic()`, passes
        before it has one.
        """
        future: asyncio.Future[State | None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(jid, set()).add(future)
        try:
            await self._look([jid])
            if not future.done() and (self._listening is None or self._listening.done()):
                self._listening = asyncio.ensure_future(self._listen())
            async with asyncio.timeout(None if deadline is None else max(deadline - monotonic(), 0)):
                return await future
        finally:
            futures = self._awaited.get(jid, set())
            futures.discard(future)
            if not futures:
                self._awaited.pop(jid, None)
            if future.done() and not future.cancelled():
                future.exception()  # the look may have failed first, and asyncio tells of one that nobody took

    async def close(self) -> None:
        """Stop listening; who waits still is told so."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        self._fail(Unavailable("the connection on which this job was waited for was given up"))

    async def _look(self, jids: list[UUID]) -> None:
        states = await self._connection.ask(self._database.watch(jids, self._id))
        for jid, state in zip(jids, states, strict=True):
            if state is None or state.final:
                for future in self._awaited.get(jid, set()):
                    if not future.done():
                        future.set_result(state)

    async def _listen(self) -> None:
        try:
            while self._awaited:
                await self._connection.wait([f"@{self._id}"], BLOCK)
                await self._look([*self._awaited])
        except asyncio.CancelledError:
            pass  # a task that ends with it keeps these frames, and they the socket, though its loop has ended
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        for futures in self._awaited.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
