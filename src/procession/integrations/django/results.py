"""A stored job as Django's `TaskResult`. Pure: it asks nobody."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import msgspec

from procession.integrations.django.interface import TaskError, TaskResult, TaskResultStatus
from procession.job import Failure, Job, State

STATUS = {
    State.QUEUED: "READY",
    State.DELAYED: "READY",
    State.BLOCKED: "READY",
    State.RUNNING: "RUNNING",
    State.PROCESSED: "SUCCESSFUL",
    State.FAILED: "FAILED",
    State.CANCELLED: "FAILED",
}
"""Django has four words; a run that failed and is to be repeated is READY again."""


def result_of(job: Job, task: Any, backend: str) -> Any:
    """The `TaskResult` of a job."""
    due = _moment(job.due_at) if job.state is State.DELAYED and not job.attempt else None
    arguments = job.args if job.args.keys() <= {"args", "kwargs"} else {}  # else sealed, and not for us to read
    result = TaskResult(
        task=_as_stored(task, priority=job.priority, queue_name=job.queue, run_after=due, backend=backend),
        id=str(job.jid),
        status=TaskResultStatus[STATUS[job.state]],
        enqueued_at=_moment(job.enqueued_at),
        started_at=_moment(job.start_at),
        last_attempted_at=_moment(job.start_at),
        finished_at=_moment(job.finish_at) if job.state.final else None,
        args=arguments.get("args", []),
        kwargs=arguments.get("kwargs", {}),
        backend=backend,
        errors=[error_of(it) for it in job.failures],
        worker_ids=_workers(job),
    )
    if job.state is State.PROCESSED and job.result is not None:
        object.__setattr__(result, "_return_value", msgspec.json.decode(job.result))
    return result


def _as_stored(task: Any, **stored: Any) -> Any:
    """The task with what was asked for then. `using`, and whatever makes one, would check that against the settings of
    now, which may have no such queue any more."""
    found = object.__new__(type(task))
    for field in fields(task):
        value = stored[field.name] if field.name in stored else getattr(task, field.name)
        object.__setattr__(found, field.name, value)
    return found


def error_of(failure: Failure) -> Any:
    """One attempt's error."""
    module = failure.module or "builtins"
    return TaskError(exception_class_path=f"{module}.{failure.type}", traceback=failure.traceback)


def _workers(job: Job) -> list[str]:
    """One for each attempt, so that their number is `attempts`: those whose error is kept are known by name."""
    by_attempt = {it.attempt: it.worker for it in job.failures}
    last = job.worker or by_attempt.get(job.attempt, "")
    return [by_attempt.get(number, "") for number in range(1, job.attempt)] + [last] * (job.attempt > 0)


def _moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC) if milliseconds else None
