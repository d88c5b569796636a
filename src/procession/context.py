"""What a running job may ask about itself: `current_job()`. Set by the executor around each attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from contextvars import ContextVar
from threading import Event, Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from msgspec import Struct

from procession.clock import monotonic
from procession.errors import ConfigError, JobCancelled, JobError, JobTimeout, LeaseLost
from procession.notebook import Notebook

if TYPE_CHECKING:
    import logging

T = TypeVar("T")

Why = Literal["timeout", "cancelled", "lost", "shutdown"]
"""Why a run is to stop: its time is over, somebody cancelled the job, its lease was lost, its worker goes."""

NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


class CurrentJob(Struct, eq=False):
    """The attempt that is running here.

    `fence` only rises from claim to claim: hand it to an outside system that refuses a smaller one, and a run that lost
    its lease can do no harm there.
    """

    jid: UUID
    name: str
    queue: str
    attempt: int
    fence: int
    worker: str = ""
    """The queue worker that performs it, as the store knows it."""
    headers: Mapping[str, str] = NO_ARGUMENTS
    """What whoever enqueued it sent along beside the arguments."""
    deadline: float | None = None
    """When its time is over, on the scale of `clock.monotonic()`; None before it begins, and without a timeout."""
    stop_reason: Why | None = None
    """Why this run is to stop; None while it may go on."""
    told: Callable[[], None] | None = None
    """Called in the writing thread when there is something to fetch; None where somebody looks now and then."""
    notebook: Notebook | None = None
    """What it has said and nobody has fetched yet; None until its first word."""
    arguments: Mapping[str, Any] = NO_ARGUMENTS
    """For middleware and `exhausted` hooks: the call's arguments by parameter name; empty where an app has neither,
    and when they could not be decoded."""
    _stop: Event | None = None

    @property
    def log(self) -> logging.Logger:
        """A logger of the library for this job's name."""
        import logging  # workers have loaded it; a program that only enqueues starts sooner without

        return logging.getLogger(f"procession.job.{self.name}")

    def progress(self, part: float | None = None, text: str = "") -> None:
        """Say how far this run is: a part from 0 to 1 (None when unknown) and up to 200 characters. Costs no trip.

        The newest report reaches the store within about a second, and the last one before the job ends; others between
        are skipped. Raises ConfigError when `part` is no finite number.
        """
        self.notes().report(part, text)

    def notes(self) -> Notebook:
        """The notebook of this attempt, opened at its first word; called by the library."""
        if self.notebook is None:
            with _opening:
                self.notebook = self.notebook or Notebook(self.attempt, self.told)
        return self.notebook

    @property
    def remaining(self) -> float | None:
        """Seconds until its time is over, None without a timeout."""
        return None if self.deadline is None else self.deadline - monotonic()

    @property
    def cancelled(self) -> bool:
        """True when this run is to stop: `stop_reason` says why. For `def` jobs: look now and then, and end soon."""
        return self.stop_reason is not None

    def check_cancelled(self) -> None:
        """Raise the error that fits when `cancelled` is true.

        Raises:
            JobCancelled: somebody cancelled the job.
            JobTimeout: its time is over.
            LeaseLost: another worker owns the job now, or soon will, because this one lost it or goes.
        """
        error = self.stopped()
        if error is not None:
            raise error

    def stopped(self) -> JobError | None:
        """The error that `check_cancelled` would raise."""
        match self.stop_reason:
            case None:
                return None
            case "timeout":
                return JobTimeout("this run has used up its time", jid=self.jid)
            case "cancelled":
                return JobCancelled("this job was cancelled while it ran", jid=self.jid)
            case "lost":
                return LeaseLost("another worker owns this job now; what this run writes is refused", jid=self.jid)
            case "shutdown":
                return LeaseLost("this worker stops and gives the job back; it runs again elsewhere", jid=self.jid)

    def stop(self, why: Why) -> None:
        """Ask the running code to stop; called by the queue worker. The first reason stays."""
        self.stop_reason = self.stop_reason or why
        if self._stop is not None:
            self._stop.set()

    def stopper(self) -> Event:
        """An event that is set when the run is to stop, to wait on."""
        if self._stop is None:
            with _opening:
                self._stop = self._stop or Event()
            if self.stop_reason is not None:
                self._stop.set()
        return self._stop


_opening = Lock()
"""Held by who makes what a run has only if it asks: two threads of one job may be the first."""
CURRENT: ContextVar[CurrentJob | None] = ContextVar("procession_current_job", default=None)


def current_job() -> CurrentJob:
    """The job that is running here. Raises ConfigError outside a job."""
    job = CURRENT.get()
    if job is None:
        raise ConfigError("current_job() was called outside a running job")
    return job


def track(iterable: Iterable[T], total: int | None = None, text: str = "") -> Iterator[T]:
    """Go through `iterable` and report progress after each item: `for row in track(rows): …`.

    Args:
        total: how many items there are; by default `len(iterable)`, where it has one. Else only the count is reported.
        text: in front of the count, "rows 3/10".

    Outside a job it only goes through the items.
    """
    if total is None and isinstance(iterable, Sized):
        with suppress(OverflowError):  # range(10**30) has a length that len() cannot say
            total = len(iterable)
    job = CURRENT.get()
    for number, item in enumerate(iterable, 1):
        yield item
        if job is not None:
            counted = f"{number}" if total is None else f"{number}/{total}"
            job.progress(number / total if total else None, f"{text} {counted}".strip())
