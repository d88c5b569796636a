"""FastAPI, and Starlette: the app's connections live as long as the application, requests get at the app, and for
development a queue worker may run on the web process's own loop.

The dashboard is an ASGI application already: `site.mount("/jobs", Dashboard(app))`. See docs/fastapi.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from procession.client import Procession
from procession.errors import ConfigError, DatabaseError
from procession.runtime.queue_worker import QueueWorker

log = logging.getLogger("procession")


def lifespan(
    app: Procession, *, worker: bool = False, queues: Sequence[str] | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan: `FastAPI(lifespan=lifespan(app))`, or `Starlette(…)`. With one of your own, enter `running` in it.

    Args:
        worker, queues: see `running`.
    """

    @asynccontextmanager
    async def of(_: Any) -> AsyncIterator[dict[str, Any]]:
        async with running(app, worker=worker, queues=queues):
            yield {"procession": app}

    return of


@asynccontextmanager
async def running(
    app: Procession, *, worker: bool = False, queues: Sequence[str] | None = None
) -> AsyncIterator[Procession]:
    """Connect before the block, close after it. A store that is away is a warning: requests then get its errors.

    Args:
        worker: perform jobs here, too, on this loop. For development: jobs and requests slow each other down, a job
            that blocks the loop blocks the site, and each process of the site is one more worker. When the block ends,
            what runs may go on for the grace.
        queues: which ones; None means every queue that a registered job names.
    """
    try:
        await app.counts_async()
    except DatabaseError as error:
        log.warning("the store does not answer yet: %s", error)
    performer = QueueWorker(app, queues=queues) if worker else None
    performing = None if performer is None else asyncio.ensure_future(performer.run())
    if performing is not None:
        performing.add_done_callback(_say)
    try:
        yield app
    finally:
        if performer is not None and performing is not None:
            if not performing.done():
                performer.stop()
            await asyncio.gather(performing, return_exceptions=True)
        await app.close_async()
        app.close()  # that of `def` path operations


def procession_of(connection: HTTPConnection) -> Procession:
    """The app, for a request or a WebSocket of an application that has `lifespan`. Raises ConfigError elsewhere."""
    app = getattr(connection.state, "procession", None)
    if not isinstance(app, Procession):
        raise ConfigError(
            "no app here: FastAPI(lifespan=lifespan(app)), or yield {'procession': app} in your own lifespan"
        )
    return app


Jobs = Annotated[Procession, Depends(procession_of)]
"""The app as a parameter of a path operation: `async def home(jobs: Jobs)`."""


def _say(performing: asyncio.Future[None]) -> None:
    if not performing.cancelled() and (error := performing.exception()) is not None:
        log.error("the queue worker of this web process ended: %s", error, exc_info=error)
