"""Database connections around each run, as Django keeps them around each request: none is stale, none is left behind.

A layer of middleware, so that it holds for tasks and for plain jobs of the same app.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections

from procession.context import CurrentJob
from procession.middleware import Middleware


class FreshConnections(Middleware):
    """Closes what is broken, or older than `CONN_MAX_AGE`, before and after a `def` run in its thread. An `async def`
    run gets a thread of its own for the ORM, as an ASGI request does, whose connections are closed with it."""

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """See `Middleware.perform`."""
        close_old_connections()
        try:
            return (yield)
        finally:
            close_old_connections()

    async def perform_async(self, job: CurrentJob, following: Callable[[], Awaitable[Any]]) -> Any:
        """See `Middleware.perform_async`."""
        async with ThreadSensitiveContext() as context:
            try:
                return await following()
            finally:
                if context in SyncToAsync.context_to_thread_executor:  # else it never asked for the thread
                    await sync_to_async(connections.close_all)()
