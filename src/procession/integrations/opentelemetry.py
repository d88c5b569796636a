"""OpenTelemetry: a span for each enqueue and for each run, joined through the job's headers.

A layer of middleware: `app.use(Tracing())`. Names and attributes follow the semantic conventions for messaging
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/), which are in development there; what they have
no word for begins with `procession.`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from procession.context import CurrentJob
from procession.errors import Control
from procession.middleware import Middleware
from procession.names import with_headers

if TYPE_CHECKING:
    from procession.enqueuer import Call
    from procession.handle import JobHandle


class Tracing(Middleware):
    """Traces one app.

    Args:
        provider: of tracers; by default the global one.
        link: begin a new trace with each run, linked to that of the enqueue, instead of going on with it: for jobs that
            wait for days, or that one request enqueues by the thousand.
    """

    def __init__(self, provider: TracerProvider | None = None, *, link: bool = False) -> None:
        self._tracer = get_tracer("procession", tracer_provider=provider)
        self._link = link

    def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
        """See `Middleware.enqueue`: a span `send QUEUE`, whose context travels with the job."""
        queue = call.options.get("queue") or call.registered.queue
        attributes = _attributes("send", queue, call.registered.name)
        # not made current: in enqueue_many all spans are open at once, and none is within another
        span = self._tracer.start_span(f"send {queue}", kind=SpanKind.PRODUCER, attributes=attributes)
        carried: dict[str, str] = {}
        propagate.inject(carried, set_span_in_context(span))
        try:
            headers = with_headers(call.options.get("headers") or {}, carried)  # of which baggage may be long, and last
            handle = yield replace(call, options={**call.options, "headers": headers})
            span.set_attribute("messaging.message.id", str(handle.jid))
            if handle.duplicate:
                span.set_attribute("procession.job.duplicate", True)
        except BaseException as error:
            _record(span, error)
            raise
        finally:
            span.end()

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """See `Middleware.perform`: a span `process QUEUE`, the current one of the job's own code."""
        sent = propagate.extract(job.headers)
        source = get_current_span(sent).get_span_context()
        linked = self._link and source.is_valid
        attributes = _attributes("process", job.queue, job.name) | {
            "messaging.message.id": str(job.jid),
            "messaging.client.id": job.worker,
            "procession.job.attempt": job.attempt,
        }
        with _current(sent), self._tracer.start_as_current_span(
            f"process {job.queue}",
            context=Context() if linked else sent,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(source)] if linked else [],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return (yield)
            except Control as fate:  # the job's own choice, and no error
                span.set_attribute("procession.job.fate", type(fate).__name__)
                raise
            except BaseException as error:
                _record(span, error)
                raise


@contextmanager
def _current(context: Context) -> Iterator[None]:
    """What travelled with the job, its baggage too, is there for its code and for what that enqueues."""
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def _attributes(operation: str, queue: str, name: str) -> dict[str, Any]:
    return {
        "messaging.system": "procession",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "procession.job.name": name,
    }


def _record(span: Span, error: BaseException) -> None:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    span.set_attribute("error.type", f"{module}{kind.__qualname__}")
    span.set_status(Status(StatusCode.ERROR, kind.__qualname__))
    with suppress(Exception):  # an error's own __str__ may raise anything, and the error is what counts
        span.set_status(Status(StatusCode.ERROR, f"{kind.__qualname__}: {error}"))
        span.record_exception(error)
