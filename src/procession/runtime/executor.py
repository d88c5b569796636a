"""One claimed job to one outcome: resolve, decode, perform, judge. Returns always; no exception of a job passes.

Errors become text at once, so no frame and nothing it holds outlives its attempt. Called by the performer, by its
executors, and within job processes; never speaks to the database.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from procession.clock import milliseconds, monotonic
from procession.codec import decode_failure, decode_spec, encode_failure
from procession.context import CURRENT, CurrentJob, Why
from procession.errors import (
    ConfigError,
    Control,
    Discard,
    EnqueueError,
    Fail,
    JobTimeout,
    RetryLater,
    Sealed,
    Snooze,
    UnknownJob,
)
from procession.failure import failure_of
from procession.job import UNKNOWN_NAME, Claimed, Crash, Failure, Outcome
from procession.moves import Move
from procession.registry import Registered, Registry
from procession.retry import LONGEST_DELAY, Retry
from procession.retry_after import asked_delay
from procession.runtime.forks import LINEAGE, leave
from procession.sealing import Sealing, is_sealed

log = logging.getLogger("procession.worker")

POSTPONED = 10_000
"""Milliseconds until a job that this worker cannot perform is looked at again; ± a quarter, by chance."""


PROCESS, CRASH, POSTPONE = Move.PROCESS, Move.CRASH, Move.POSTPONE  # CPython 3.11 takes 0.1 µs to look a member up
DEADLINE = "deadline"
"""The reason of a job that failed because no attempt may follow any more."""

CANCEL_GRACE = 5.0
"""Seconds that a run which was told to stop may take to end before more is done about it."""


class Run(Struct):
    """One attempt on its way through the pipeline."""

    claimed: Claimed
    registered: Registered
    arguments: msgspec.Raw
    attempts: int
    context: CurrentJob
    timeout: float | None
    """Seconds after which it is told to stop, None when nobody tells it."""
    hard_timeout: float | None
    """Seconds after which its process is killed, if it has one of its own; None for never."""
    deadline: float | None = None
    """When the whole job is to be over, on the scale of `clock.monotonic()`; None for never."""
    retry: Retry = Retry()
    """The nearest policy: the job's, its queue's, the app's."""
    crash: Crash | None = None
    """How its process ended, if the run ended with it."""
    exhausted: bool = False
    """Its hook for the last failure is called, or was: by itself, or by who gave it up."""

    @property
    def stopped(self) -> Why | None:
        """Why this run is not to go on, if it is not."""
        return self.context.stop_reason

    def cut(self) -> None:
        """No attempt goes on beyond the deadline of its job."""
        if self.deadline is None:
            return
        left = max(self.deadline - monotonic(), 0.001)
        self.timeout = left if self.timeout is None else min(self.timeout, left)
        killed = left + CANCEL_GRACE
        self.hard_timeout = killed if self.hard_timeout is None else min(self.hard_timeout, killed)

    def begin(self, now: float) -> None:
        """Its time counts from here, by `clock.monotonic()`. A hard timeout that is nearer leaves no other."""
        if self.deadline is not None:
            self.cut()
        limit = self.hard_timeout if self.timeout is None else self.timeout
        self.context.deadline = None if limit is None else now + limit


class Verdict(Struct, frozen=True, gc=False):
    """An outcome, and the text that the log shows of it."""

    outcome: Outcome
    error: str = ""
    traceback: str = ""


def resolve(claimed: Claimed, registry: Registry, worker: str) -> Run | Verdict:
    """Find the code behind the name, and the limits of the attempt; a Verdict when the job cannot even begin."""
    try:
        spec = decode_spec(claimed.spec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _ended(claimed, Move.FAIL, "undecodable", error, worker)
    found = registry.performing(spec.name, claimed.queue)
    if found is None:
        return postponed(claimed, f"{UNKNOWN_NAME}{spec.name}", str(UnknownJob(spec.name)))
    if claimed.left is not None and claimed.left <= 0:
        return _ended(claimed, Move.FAIL, DEADLINE, JobTimeout("the deadline of this job has passed"), worker)
    (registered, retry), asked = found, spec.options
    attempts = asked.attempts if asked.attempts is not None else retry.attempts
    timeout, hard = limits(asked.timeout if asked.timeout is not None else registered.timeout, registered.hard_timeout)
    context = CurrentJob(
        claimed.jid, registered.name, claimed.queue, claimed.attempt, claimed.fence, worker, asked.headers
    )
    deadline = None if claimed.left is None else monotonic() + claimed.left / 1_000
    return Run(claimed, registered, spec.args, attempts, context, timeout, hard, deadline, retry)


@lru_cache(maxsize=1_000)
def limits(timeout: int | None, hard: int | None) -> tuple[float | None, float | None]:
    """When a run is told to stop, and when its process is killed, in seconds: given milliseconds, 0 and None lift them.

    A process is killed a grace after the timeout unless a hard timeout was given, which nothing outlasts.
    """
    soft = timeout / 1_000 if timeout else None
    if hard is None:
        return soft, None if soft is None else soft + CANCEL_GRACE
    return (soft if soft is not None and soft < hard / 1_000 else None), hard / 1_000


class _Closed(Control):
    """The arguments cannot be opened here; no code of the job has run."""


def _decoded(run: Run) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the call, opened if they are sealed. Raises BadArguments, or _Closed."""
    signature, sealing = run.registered.signature, run.registered.sealing
    if sealing is None:
        try:
            return signature.decode(run.arguments)
        except EnqueueError:
            if is_sealed(run.arguments):
                raise _Closed(f"the arguments of job {run.claimed.jid} are sealed; this app has no codec=") from None
            raise
    try:
        name = decode_spec(run.claimed.spec).name  # as stored, which may be an alias of this code
        return signature.decode(sealing.open(run.arguments, run.claimed.jid, "args", name))
    except Sealed as error:
        raise _Closed(str(error)) from None


async def perform_async(run: Run, worker: str, now: float, ends: Callable[[], bool] | None = None) -> Verdict:
    """Run an `async def` job here and now, under its context. A loop that ends cancels all its tasks: what is cancelled
    together with the queue worker, which `ends` then, is given back."""
    CURRENT.set(run.context)
    run.begin(now)
    forks = LINEAGE.forks
    try:
        args, kwargs = _decoded(run)
        value = await run.registered.call(*args, **kwargs)
        if LINEAGE.forks != forks:
            leave(None)
        verdict = succeeded(run, value, worker)
    except BaseException as error:
        if LINEAGE.forks != forks:
            leave(error)
        if ends is not None and ends():
            run.context.stop("shutdown")
        verdict = judge(run, error, worker)
    if run.registered.exhausted is not None and verdict.outcome.move == Move.FAIL:
        await say_exhausted_async(run, verdict)
    return verdict


def perform(run: Run, worker: str) -> Verdict:
    """Run a `def` job in the thread that calls this, under its context: a copy of the thread's, to which nothing comes
    back that the job sets."""
    return copy_context().run(_performed, run, worker)


def _performed(run: Run, worker: str) -> Verdict:
    CURRENT.set(run.context)
    run.begin(monotonic())
    forks = LINEAGE.forks
    try:
        args, kwargs = _decoded(run)
        value = run.registered.call(*args, **kwargs)
        if LINEAGE.forks != forks:
            leave(None)
        verdict = succeeded(run, value, worker)
    except BaseException as error:
        if LINEAGE.forks != forks:
            leave(error)
        verdict = judge(run, error, worker)
    if run.registered.exhausted is not None and verdict.outcome.move == Move.FAIL:
        say_exhausted(run, verdict)
    return verdict


def _heard(run: Run, failure: bytes) -> Failure:
    """A failure as the job's own code may read it."""
    plain, sealing = decode_failure(failure), run.registered.sealing
    return plain if sealing is None else sealing.open_failure(plain, run.claimed.jid)


def _stand_in(run: Run) -> None:
    """Be the context of a run that is gone, its arguments included where they can be read."""
    CURRENT.set(run.context)
    with suppress(EnqueueError, _Closed):
        args, kwargs = _decoded(run)
        run.context.arguments = run.registered.signature.named(args, kwargs)


def say_exhausted(run: Run, verdict: Verdict, *, alone: bool = False) -> None:
    """Call the hook for a job that ends in `failed`, once. Its errors are logged and change nothing. `alone`: not where
    the job ran, so the hook's context is made for it."""
    hook, said, run.exhausted = run.registered.exhausted, run.exhausted, True
    if said:
        return
    try:
        if alone:
            _stand_in(run)
        if hook is not None and verdict.outcome.failure is not None:
            hook(_heard(run, verdict.outcome.failure))
    except BaseException:
        log.exception("job %s: its hook for the last failure raised; the job fails all the same", verdict.outcome.jid)


async def say_exhausted_async(run: Run, verdict: Verdict, *, alone: bool = False) -> None:
    """See `say_exhausted`; here it may be an `async def`."""
    hook, said, run.exhausted = run.registered.exhausted, run.exhausted, True
    if said:
        return
    try:
        if alone:
            _stand_in(run)
        if hook is not None and verdict.outcome.failure is not None:
            coming = hook(_heard(run, verdict.outcome.failure))
            if inspect.isawaitable(coming):
                await coming
    except BaseException:
        log.exception("job %s: its hook for the last failure raised; the job fails all the same", verdict.outcome.jid)


def succeeded(run: Run, value: Any, worker: str) -> Verdict:
    """The attempt returned: encode what it returned, or fail clearly. Of None nothing is kept: a job without a result
    reads the same."""
    if value is None and run.registered.sealing is None:
        return Verdict(Outcome(run.claimed.jid, run.claimed.token, PROCESS))
    try:
        raw = run.registered.signature.encode_result(value)
    except EnqueueError as error:
        return _ended(run.claimed, Move.FAIL, "result cannot be kept", error, worker, sealing=run.registered.sealing)
    if run.registered.sealing is not None:
        raw = run.registered.sealing.seal(raw, run.claimed.jid, "result")
    return Verdict(_outcome(run.claimed, Move.PROCESS, value=raw))


def judge(run: Run, error: BaseException, worker: str) -> Verdict:
    """The attempt raised, or was stopped: which move follows. Code of the app is run for that (an error's
    attributes, its text): what it raises is logged, and another run follows in ten seconds, if one is left."""
    try:
        return _judged(run, error, worker)
    except BaseException:
        with suppress(Exception):  # an error whose text cannot be made cannot be logged either
            log.exception("job %s: what follows its failure could not be judged", run.claimed.jid)
        return _unjudged(run, error, worker)


def _unjudged(run: Run, error: BaseException, worker: str) -> Verdict:
    claimed, reason = run.claimed, "unjudged"
    move, delay = (Move.FAIL, 0) if _charged(claimed) >= run.attempts else (Move.RETRY, POSTPONED)
    try:
        return _ended(claimed, move, reason, error, worker, delay, run.crash, run.registered.sealing)
    except BaseException:  # nor kept
        return Verdict(_outcome(claimed, move, reason=reason, delay=delay), error=reason)


def _judged(run: Run, error: BaseException, worker: str) -> Verdict:
    claimed, sealing = run.claimed, run.registered.sealing
    match run.stopped:
        case "timeout":
            error = JobTimeout(_overran(run), jid=claimed.jid).with_traceback(error.__traceback__)
            if _missed(run):
                return _ended(claimed, Move.FAIL, DEADLINE, error, worker, crash=run.crash, sealing=sealing)
        case "cancelled":
            return Verdict(_outcome(claimed, Move.DISCARD, reason="cancelled"), error="cancelled")
        case "shutdown" | "lost":
            return Verdict(_outcome(claimed, Move.RELEASE, reason="interrupted"), error=run.stopped)
    try:
        match error:
            case Snooze():
                delay = milliseconds(error.after, "Snooze")
                return Verdict(_outcome(claimed, Move.SNOOZE, reason="snoozed", delay=delay))
            case Discard():
                reason = error.reason if sealing is None else "discarded"  # a reason is readable for everyone
                return _ended(claimed, Move.DISCARD, reason, error, worker, sealing=sealing)
            case Fail():
                reason = error.reason if sealing is None else "given up"
                return _ended(claimed, Move.FAIL, reason, error, worker, sealing=sealing)
            case _Closed():
                return postponed(claimed, "sealed with a key that no worker here has", str(error))
            case RetryLater():
                return _retried(run, error, worker, milliseconds(error.after, "RetryLater"))
    except ConfigError as wrong:
        error = wrong
    return _retried(run, error, worker)


def died(run: Run, crash: Crash, worker: str) -> Verdict:
    """The process of the attempt ended by itself: a crash, which has a budget of its own."""
    message = f"its process ended: {crash.how}"
    at, attempt = _now(run.claimed), run.claimed.attempt
    failure = Failure(attempt=attempt, type="ProcessDied", message=message, at=at, worker=worker, crash=crash)
    if run.registered.sealing is not None:
        failure = msgspec.structs.replace(failure, crash=run.registered.sealing.seal_crash(crash, worker))
    outcome = _outcome(run.claimed, Move.CRASH, failure=encode_failure(failure))
    return Verdict(outcome, error=message, traceback=crash.stack)


def released(claimed: Claimed, reason: str) -> Verdict:
    """The job is given back as it came, uncharged, for whoever can begin it."""
    return Verdict(_outcome(claimed, Move.RELEASE, reason=reason), error=reason)


def postponed(claimed: Claimed, reason: str, error: str) -> Verdict:
    """This worker cannot perform the job now: it waits a while, uncharged, and says why."""
    delay = round(POSTPONED * random.uniform(0.75, 1.25))
    return Verdict(_outcome(claimed, POSTPONE, reason=_short(reason), delay=delay), error=error)


def _missed(run: Run) -> bool:
    """It is the deadline of the job that has ended this run, and not the time of an attempt."""
    if run.deadline is None:
        return False
    ends = run.context.deadline
    return monotonic() >= run.deadline or (ends is not None and ends >= run.deadline - 0.001)


def _overran(run: Run) -> str:
    if _missed(run):
        return f"the deadline of this job passed while it ran{', and it was killed' if run.crash is not None else ''}"
    if run.crash is not None:
        return f"ran longer than its hard timeout of {run.hard_timeout:g} s and was killed"
    if run.timeout is None:
        return f"ran longer than its hard timeout of {run.hard_timeout:g} s"
    return f"ran longer than its timeout of {run.timeout:g} s"


def _retried(run: Run, error: BaseException, worker: str, delay: int | None = None) -> Verdict:
    claimed, retry, sealing = run.claimed, run.retry, run.registered.sealing
    charged = _charged(claimed)
    if charged >= run.attempts:
        reason = "exhausted" if run.attempts > 1 else "no retry"
        return _ended(claimed, Move.FAIL, reason, error, worker, crash=run.crash, sealing=sealing)
    if delay is None:
        try:
            delay = _wait(run, retry, error, max(charged, 1))
        except Exception:
            log.exception("job %s: its retry policy is of no use; the default is taken", claimed.jid)
            delay = _wait(run, Retry(), error, max(charged, 1))
    if delay is None:
        return _ended(claimed, Move.FAIL, "not retryable", error, worker, crash=run.crash, sealing=sealing)
    if run.deadline is not None and monotonic() + delay / 1_000 >= run.deadline:
        return _ended(claimed, Move.FAIL, DEADLINE, error, worker, crash=run.crash, sealing=sealing)
    return _ended(claimed, Move.RETRY, "retry", error, worker, delay, crash=run.crash, sealing=sealing)


def _charged(claimed: Claimed) -> int:
    """Attempts that count: crashes have a budget of their own."""
    return claimed.attempt - claimed.crashes


def _wait(run: Run, retry: Retry, error: BaseException, attempt: int) -> int | None:
    """Milliseconds until the next run: what the worker class says, else what the error asks, else the policy's. None
    where the policy wants no other."""
    if isinstance(error, retry.never) or (isinstance(error, Exception) and not retry.wants(error)):
        return None
    hook = run.registered.backoff
    if hook is not None:
        try:
            said = hook(attempt, error)
            if said is not None:
                return min(milliseconds(said, "backoff()"), LONGEST_DELAY)
        except Exception:
            log.exception("job %s: its backoff() is of no use; the policy's wait is taken", run.claimed.jid)
    asked = asked_delay(error)
    return retry.delay(attempt) if asked is None else retry.asked(asked)


def _ended(
    claimed: Claimed,
    move: Move,
    reason: str,
    error: BaseException,
    worker: str,
    delay: int = 0,
    crash: Crash | None = None,
    sealing: Sealing | None = None,
) -> Verdict:
    failure = failure_of(error, attempt=claimed.attempt, worker=worker, at=_now(claimed))
    if crash is not None:
        failure = msgspec.structs.replace(failure, crash=crash)
    kept = failure if sealing is None else sealing.seal_failure(failure, claimed.jid)
    outcome = _outcome(claimed, move, reason=_short(reason), delay=delay, failure=encode_failure(kept))
    return Verdict(outcome, error=f"{failure.type}: {failure.message}", traceback=failure.traceback)


def _now(claimed: Claimed) -> int:
    """The time by the store's clock, as far as its answer to the claim can tell."""
    return claimed.zero_at + round(monotonic() * 1_000) if claimed.zero_at else 0


def _short(reason: str) -> str:
    text = str(reason).encode("utf-8", "backslashreplace")[:200]
    return text.decode("utf-8", "ignore")


def _outcome(claimed: Claimed, move: Move, **fields: Any) -> Outcome:
    return Outcome(claimed.jid, claimed.token, move, **fields)
