"""Calls the `exhausted` hooks of runs that cannot: their process is gone, or their code goes on though given up.

An `async def` hook has a task, a `def` one a thread that no job has; each the context of its run, made for it. Used by
the performer and by what tells of the dead (`obituaries.py`), on the worker's loop.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import copy_context

from procession.moves import Move
from procession.runtime.executor import CANCEL_GRACE, Run, Verdict, say_exhausted, say_exhausted_async
from procession.runtime.thread_executor import ThreadPool

log = logging.getLogger("procession.worker")


class StandIn:
    """Speaks for the runs of one queue worker."""

    def __init__(self) -> None:
        self._thread = ThreadPool(1)
        self._saying: set[asyncio.Task[None]] = set()

    def say(self, run: Run, verdict: Verdict) -> asyncio.Task[None] | None:
        """Call the hook, if there is one and this ends the job in `failed`: in a task, which may be awaited."""
        if run.registered.exhausted is None or verdict.outcome.move != Move.FAIL:
            return None
        if run.registered.inside == "loop":
            saying = asyncio.create_task(say_exhausted_async(run, verdict, alone=True))
        else:
            saying = asyncio.create_task(self._in_thread(run, verdict))
        self._saying.add(saying)
        saying.add_done_callback(self._saying.discard)
        return saying

    async def close(self) -> None:
        """Give hooks that were called a few seconds to end."""
        if self._saying:
            _, late = await asyncio.wait(self._saying, timeout=CANCEL_GRACE)
            for saying in late:
                saying.cancel()
        self._thread.close()

    async def _in_thread(self, run: Run, verdict: Verdict) -> None:
        loop = asyncio.get_running_loop()
        said: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not said.done():
                said.set_result(None)

        def work() -> None:
            copy_context().run(say_exhausted, run, verdict, alone=True)
            with suppress(RuntimeError):  # a hook may outlive the loop
                loop.call_soon_threadsafe(end)

        try:
            self._thread.submit(work)
        except RuntimeError as error:  # the system has none to give
            log.error("job %s: its hook for the last failure was not called: %s", run.claimed.jid, error)
        else:
            await said
