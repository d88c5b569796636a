"""What goes on beside the turns of a queue worker, such as hearing bells and firing schedules, as long as it works.

None of it ends by itself. What does has met an error that nobody foresaw; a worker that went on without would look well
and serve badly. So it finishes what runs, and ends with that error. Used by `queue_worker.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger("procession.worker")


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None], broken: Callable[[], object]) -> AsyncIterator[None]:
    """Do this work in tasks while the block runs. As soon as one ends with an error, or is cancelled by somebody else,
    that is logged and `broken` is called; the first error is raised at the end of the block. A loop that ends cancels
    all its tasks at once, the block's own as well, and nothing is broken."""
    tasks, errors = [asyncio.ensure_future(it) for it in work], list[BaseException]()
    owner = asyncio.current_task()

    def ended(task: asyncio.Task[None]) -> None:
        if task.cancelled() and owner is not None and owner.cancelling():
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            log.error("a part of the queue worker is broken, so it stops: %r", task.get_coro(), exc_info=error)
            errors.append(error)
            broken()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if errors:
        raise errors[0]
