"""One claimed job to one outcome: resolve, decode, perform, judge. Returns always; no exception of a job passes.

Errors become text at once, so no frame and nothing it holds outlives its attempt. Called by the queue worker; never
speaks to the database.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Literal

import msgspec
from msgspec import Struct

from procession.clock import milliseconds
from procession.codec import decode_spec, encode_failure, failure_of
from procession.context import CURRENT, CurrentJob
from procession.errors import (
    BadArguments,
    ConfigError,
    Discard,
    EnqueueError,
    Fail,
    JobTimeout,
    RetryLater,
    Snooze,
    UnknownJob,
)
from procession.job import UNKNOWN_NAME, Claimed, Outcome
from procession.moves import Move
from procession.registry import Registered, Registry

UNKNOWN_NAME_DELAY = 10_000
"""Milliseconds until a job whose name this worker does not know is looked at again; ± a quarter, by chance."""


class Run(Struct):
    """One attempt on its way through the pipeline."""

    claimed: Claimed
    registered: Registered
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempts: int
    context: CurrentJob
    timeout: float | None
    """Seconds, None when lifted."""
    stopped: Literal["", "timeout", "cancelled", "lost", "shutdown"] = ""
    """Why the queue worker stopped this run, if it did."""


class Verdict(Struct, frozen=True):
    """An outcome, and the text that the log shows of it."""

    outcome: Outcome
    error: str = ""
    traceback: str = ""


def prepare(claimed: Claimed, registry: Registry, worker: str) -> Run | Verdict:
    """Resolve the name and decode the arguments; a Verdict when the job cannot even begin."""
    try:
        spec = decode_spec(claimed.spec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _ended(claimed, Move.FAIL, "undecodable", error, worker)
    registered = registry.get(spec.name)
    if registered is None:
        delay = round(UNKNOWN_NAME_DELAY * random.uniform(0.75, 1.25))
        outcome = _outcome(claimed, Move.POSTPONE, reason=f"{UNKNOWN_NAME}{spec.name}"[:200], delay=delay)
        return Verdict(outcome, error=str(UnknownJob(spec.name)))
    attempts = spec.attempts if spec.attempts is not None else registered.retry.attempts
    try:
        args, kwargs = registered.signature.decode(spec.args)
    except BadArguments as error:
        return _retried(claimed, registered, attempts, error, worker)
    limit = spec.timeout if spec.timeout is not None else registered.timeout
    timeout = limit / 1_000 if limit else None
    context = CurrentJob(claimed.jid, registered.name, claimed.queue, claimed.attempt, claimed.fence, timeout)
    return Run(claimed, registered, args, kwargs, attempts, context, timeout)


async def perform(run: Run, worker: str) -> Verdict:
    """Run an `async def` job here, under its context."""
    CURRENT.set(run.context)
    try:
        value = await run.registered.call(*run.args, **run.kwargs)
        return succeeded(run, value, worker)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and run.stopped == "":
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the worker's own loop is being torn down
        return judge(run, error, worker)


def perform_in_thread(run: Run, worker: str) -> Verdict:
    """Run a `def` job in the thread that calls this, under its context."""
    token = CURRENT.set(run.context)
    try:
        return succeeded(run, run.registered.call(*run.args, **run.kwargs), worker)
    except BaseException as error:
        return judge(run, error, worker)
    finally:
        CURRENT.reset(token)


def succeeded(run: Run, value: Any, worker: str) -> Verdict:
    """The attempt returned: encode what it returned, or fail clearly."""
    try:
        return Verdict(_outcome(run.claimed, Move.PROCESS, value=run.registered.signature.encode_result(value)))
    except EnqueueError as error:
        return _ended(run.claimed, Move.FAIL, "result cannot be kept", error, worker)


def judge(run: Run, error: BaseException, worker: str) -> Verdict:
    """The attempt raised: which move follows."""
    claimed = run.claimed
    if run.stopped == "timeout":
        error = JobTimeout(f"ran longer than its timeout of {run.timeout:g} s", jid=claimed.jid)
    elif run.stopped == "cancelled":
        return Verdict(_outcome(claimed, Move.DISCARD, reason="cancelled"), error="cancelled")
    elif run.stopped in ("shutdown", "lost"):
        return Verdict(_outcome(claimed, Move.RELEASE, reason="interrupted"), error=run.stopped)
    try:
        match error:
            case Snooze():
                delay = milliseconds(error.after, "Snooze")
                return Verdict(_outcome(claimed, Move.SNOOZE, reason="snoozed", delay=delay))
            case Discard():
                return _ended(claimed, Move.DISCARD, error.reason, error, worker)
            case Fail():
                return _ended(claimed, Move.FAIL, error.reason, error, worker)
            case RetryLater():
                return _retried(
                    claimed, run.registered, run.attempts, error, worker, milliseconds(error.after, "RetryLater")
                )
    except ConfigError as wrong:
        error = wrong
    return _retried(claimed, run.registered, run.attempts, error, worker)


def _retried(
    claimed: Claimed, registered: Registered, attempts: int, error: BaseException, worker: str, delay: int | None = None
) -> Verdict:
    charged = claimed.attempt - claimed.crashes  # crashes have a budget of their own
    if charged >= attempts:
        return _ended(claimed, Move.FAIL, "exhausted" if attempts > 1 else "no retry", error, worker)
    if delay is None:
        if isinstance(error, Exception) and not registered.retry.wants(error):
            return _ended(claimed, Move.FAIL, "not retryable", error, worker)
        delay = registered.retry.delay(max(charged, 1))
    return _ended(claimed, Move.RETRY, "retry", error, worker, delay)


def _ended(claimed: Claimed, move: Move, reason: str, error: BaseException, worker: str, delay: int = 0) -> Verdict:
    failure = failure_of(error, attempt=claimed.attempt, worker=worker)
    outcome = _outcome(claimed, move, reason=_short(reason), delay=delay, failure=encode_failure(failure))
    return Verdict(outcome, error=f"{failure.type}: {failure.message}", traceback=failure.traceback)


def _short(reason: str) -> str:
    text = str(reason).encode("utf-8", "backslashreplace")[:200]
    return text.decode("utf-8", "ignore")


def _outcome(claimed: Claimed, move: Move, **fields: Any) -> Outcome:
    return Outcome(jid=claimed.jid, token=claimed.token, move=move, **fields)
