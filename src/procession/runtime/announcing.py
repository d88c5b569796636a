"""Tells the handlers of an app what happens to the jobs of one queue worker: one event after another, beside the jobs.

A slow handler delays the events behind it and no job; when 10,000 wait, further ones are dropped and counted. `async
def` handlers are awaited on the worker's loop, `def` ones run in a thread of their own. Called by the performer; an
app without handlers has none of this.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from procession.events import Event, Handler, Kind, log_raised
from procession.moves import Move
from procession.runtime.executor import CANCEL_GRACE, Run, Verdict
from procession.runtime.thread_executor import ThreadPool

log = logging.getLogger("procession.worker")

WAITING = 10_000
"""Most events that wait to be told."""
FAREWELL = 5.0
"""Seconds that a worker which ends gives its handlers for what still waits."""
KINDS: dict[str, Kind] = {
    Move.PROCESS: "processed", Move.FAIL: "failed", Move.RETRY: "retried", Move.DISCARD: "cancelled",
}  # fmt: skip


class Announcer:
    """Made and called on the worker's loop."""

    def __init__(self, handlers: Mapping[str, Sequence[Handler]]) -> None:
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._thread = ThreadPool(1)
        self._telling: asyncio.Task[None] | None = None
        self._dropped = 0

    @classmethod
    def of(cls, handlers: Mapping[str, Sequence[Handler]]) -> Announcer | None:
        """None when nobody would hear what a worker says."""
        return cls(handlers) if handlers.keys() - {"enqueued"} else None

    def started(self, run: Run) -> None:
        """A run begins now."""
        if "started" in self._handlers:
            self.say(_event("started", run))

    def outcome(self, run: Run, verdict: Verdict, seconds: float) -> Event | None:
        """What is to be said once the store has accepted this outcome; None when nobody asks."""
        kind = KINDS.get(verdict.outcome.move)
        if kind is None or kind not in self._handlers:
            return None
        reason = "" if kind in ("processed", "retried") else verdict.outcome.reason
        error = verdict.error if kind in ("failed", "retried") else ""
        return _event(kind, run, error=error, reason=reason, seconds=seconds)

    def say(self, event: Event) -> None:
        """Tell it, after what waits already."""
        if len(self._events) >= WAITING:
            if not self._dropped:
                log.warning("handlers of events are too slow: %d events wait, further ones are dropped", WAITING)
            self._dropped += 1
            return
        self._events.append(event)
        if self._telling is None or self._telling.done():
            self._telling = self._loop.create_task(self._tell())

    async def close(self) -> None:
        """Tell what waits, within a few seconds, and end: without a handler that goes on though it is cancelled."""
        if self._telling is not None:
            _, late = await asyncio.wait([self._telling], timeout=FAREWELL)
            for telling in late:
                telling.cancel()
                await asyncio.wait(late, timeout=CANCEL_GRACE)
        if self._events or self._dropped:
            log.warning("%d events were not told to their handlers", len(self._events) + self._dropped)
            self._events.clear()
        self._thread.close()

    async def _tell(self) -> None:
        while self._events:
            event = self._events.popleft()
            for handler in self._handlers.get(event.kind, ()):
                try:
                    on_loop = inspect.iscoroutinefunction(handler)
                    coming = handler(event) if on_loop else await self._in_thread(handler, event)
                    if inspect.isawaitable(coming):  # of a def, too: an object whose __call__ is async, a decorated one
                        await coming
                except BaseException as error:
                    if isinstance(error, asyncio.CancelledError) and self._cancelled():
                        raise  # else of something that the handler awaited
                    if isinstance(error, GeneratorExit) and not self._loop.is_running():
                        raise  # the loop has ended, and this is taken apart
                    log_raised(log, handler, event, error)

    def _cancelled(self) -> bool:
        return self._telling is not None and self._telling.cancelling() > 0

    async def _in_thread(self, handler: Handler, event: Event) -> Any:
        done: asyncio.Future[Any] = self._loop.create_future()

        def end(error: BaseException | None, returned: Any) -> None:
            if not done.done():
                done.set_result(returned) if error is None else done.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            returned = None
            try:
                returned = handler(event)
            except BaseException as caught:
                error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
            with suppress(RuntimeError):  # a handler may outlive the loop
                self._loop.call_soon_threadsafe(end, error, returned)

        self._thread.submit(work)
        return await done


def _event(kind: Kind, run: Run, *, error: str = "", reason: str = "", seconds: float = 0.0) -> Event:
    claimed = run.claimed
    return Event(
        kind=kind, jid=claimed.jid, name=run.registered.name, queue=claimed.queue, attempt=claimed.attempt,
        error=error, reason=reason, seconds=seconds,
    )  # fmt: skip
