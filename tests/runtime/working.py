"""A queue worker in the test's own loop, for the tests of this folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from procession import Procession
from procession.clock import milliseconds
from procession.runtime.queue_worker import QueueWorker


@asynccontextmanager
async def working(app: Procession, **options: Any) -> AsyncIterator[QueueWorker]:
    """A worker that runs while the block does; then it winds down, and nothing is left open."""
    worker = QueueWorker(app, **options)
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(0)
    try:
        yield worker
    finally:
        worker.stop()
        await running
        await app.close_async()
        app.close()


class Between:
    """A connection with a hand of the test in between. What a subclass does not say otherwise is the connection's."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def put_between(app: Procession, hand: Callable[[Any], Between]) -> None:
    """From now on `hand` is given each connection that is made on a loop, and what it returns is used instead."""
    connect = app.database.connect_async
    app.database.connect_async = lambda *given: hand(connect(*given))  # type: ignore[method-assign, assignment, return-value]


async def taken_back(app: Procession, worker: QueueWorker) -> None:
    """As if this worker had been paused for longer than its lease: others take back what it runs."""
    lease = milliseconds(app.settings.lease)
    ends = app.database.heartbeat(worker.id, lease=0, info=b"{}")
    while not (await app.connection_async().ask(ends, app.database.recover(100, lease=lease)))[1]:
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {seconds} s")
