"""What happens to jobs, as values for handlers: `@app.on("failed")`.

Handlers hear; they decide nothing. Their errors are logged. Who calls them: the process that enqueues says `enqueued`
(here), a queue worker all others (`runtime/announcing.py`). Delivery is at most once: an event is not stored anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from msgspec import Struct

from procession.middleware import Middleware

if TYPE_CHECKING:
    import logging

    from procession.enqueuer import Call
    from procession.handle import JobHandle

Kind = Literal["enqueued", "started", "processed", "failed", "retried", "cancelled"]


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened to one job."""

    kind: Kind
    jid: UUID
    name: str
    queue: str
    attempt: int = 0
    """Which run; 0 for `enqueued`."""
    error: str = ""
    """For `failed` and `retried`: type and message of the error."""
    reason: str = ""
    """For `failed` and `cancelled`: why, such as `exhausted` or `not retryable`."""
    seconds: float = 0.0
    """How long this run took; 0 for one that never began."""


Handler = Callable[[Event], Any]


class Announced(Middleware):
    """The innermost layer of enqueues: tells the handlers of `enqueued` what is stored anew."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        import logging  # not by a program without handlers, which starts 5 ms sooner

        self._handlers = handlers
        self._log = logging.getLogger("procession")

    def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
        """See `Middleware.enqueue`."""
        handle = yield call
        if handle.duplicate:
            return
        queue = call.options.get("queue") or call.registered.queue
        event = Event(kind="enqueued", jid=handle.jid, name=call.registered.name, queue=queue)
        for handler in self._handlers:
            try:
                handler(event)
            except Exception as error:
                log_raised(self._log, handler, event, error)


def log_raised(log: logging.Logger, handler: Handler, event: Event, error: BaseException) -> None:
    """A handler raised: say so, and go on."""
    name = getattr(handler, "__qualname__", repr(handler))
    said = "the handler %s raised at %s of job %s; that changes nothing for the job"
    log.error(said, name, event.kind, event.jid, exc_info=error)
