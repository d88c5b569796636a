"""Sentry: the error of each run with the job that it belongs to, and a transaction for each run if tracing is on.

A layer of middleware: `app.use(SentryErrors())` behind `sentry_sdk.init(…)`. What a job chooses itself (`Snooze`,
`RetryLater`, `Discard`, `Fail`) and runs that were told to stop are not reported.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import sentry_sdk
from msgspec.structs import replace
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.scope import should_send_default_pii
from sentry_sdk.utils import event_from_exception

from procession.context import CurrentJob
from procession.errors import Control
from procession.middleware import Middleware
from procession.names import check_headers, with_headers

if TYPE_CHECKING:
    from procession.enqueuer import Call
    from procession.handle import JobHandle

STOPPED = ("cancelled", "lost", "shutdown")
"""Reasons to stop that are no fault of the job."""
FAULT = "internal_error"


class SentryErrors(Middleware):
    """Reports to Sentry. Arguments are sent only where `send_default_pii` allows it."""

    def __init__(self) -> None:
        ignore_logger("procession.worker.jobs")  # it logs each failure, which would come twice

    def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
        """See `Middleware.enqueue`: the run goes on with the caller's trace."""
        carried = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
        given = check_headers(call.options.get("headers") or {})
        ours = {name: it for name, it in carried.items() if it and len(it) <= 1_000 and name not in given}
        yield replace(call, options={**call.options, "headers": with_headers(given, ours)})

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """See `Middleware.perform`."""
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()
            scope.set_tags({"procession.job": job.name, "procession.queue": job.queue})
            scope.set_context("job", _described(job))
            transaction = sentry_sdk.continue_trace(
                dict(job.headers), op="queue.process", name=job.name, source="task", origin="auto.queue.procession"
            )
            with sentry_sdk.start_transaction(transaction) as span:
                span.set_data("messaging.message.id", str(job.jid))
                span.set_data("messaging.destination.name", job.queue)
                span.set_data("messaging.message.retry.count", job.attempt - 1)
                result: Any = None
                raised: BaseException | None = None
                try:
                    result = yield
                    span.set_status("ok")
                except BaseException as error:  # raised anew outside, or the transaction would count it as its own
                    raised = error
                    span.set_status(_status(job, error))
                    if _status(job, error) == FAULT:
                        _report(_as_recorded(job, error))
        if raised is not None:
            raise raised
        return result


def _status(job: CurrentJob, error: BaseException) -> str:
    if job.stop_reason in STOPPED:
        return "cancelled"
    return "ok" if isinstance(error, Control) else FAULT


def _described(job: CurrentJob) -> dict[str, Any]:
    described = {name: getattr(job, name) for name in ("name", "queue", "attempt", "worker")} | {"jid": str(job.jid)}
    return described | {"arguments": dict(job.arguments)} if should_send_default_pii() else described


def _as_recorded(job: CurrentJob, error: BaseException) -> BaseException:
    """An `async def` run whose time is over ends with asyncio's CancelledError, by which nobody would know it."""
    if job.stop_reason == "timeout" and isinstance(error, CancelledError):
        return (job.stopped() or error).with_traceback(error.__traceback__)
    return error


def _report(error: BaseException) -> None:
    options = sentry_sdk.get_client().options
    mechanism = {"type": "procession", "handled": False}
    event, hint = event_from_exception(error, client_options=options, mechanism=mechanism)
    sentry_sdk.capture_event(event, hint=hint)
