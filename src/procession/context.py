"""What a running job may ask about itself: `current_job()`. Set by the executor around each attempt."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from threading import Event
from uuid import UUID

from procession.clock import monotonic
from procession.errors import ConfigError, JobCancelled


class CurrentJob:
    """The attempt that is running here.

    `deadline` is on the scale of `time.monotonic()`, None without a timeout. `fence` only rises from claim to claim:
    hand it to an outside system that refuses a smaller one, and a run that lost its lease can do no harm there.
    """

    __slots__ = ("_stop", "attempt", "deadline", "fence", "jid", "name", "queue")

    def __init__(self, jid: UUID, name: str, queue: str, attempt: int, fence: int, timeout: float | None) -> None:
        self.jid = jid
        self.name = name
        self.queue = queue
        self.attempt = attempt
        self.fence = fence
        self.deadline = None if timeout is None else monotonic() + timeout
        self._stop: Event | None = None

    @property
    def log(self) -> logging.Logger:
        """A logger of the library for this job's name."""
        return logging.getLogger(f"procession.job.{self.name}")

    @property
    def cancelled(self) -> bool:
        """True when somebody cancelled this job, its time is over, or its lease was lost. For `def` jobs: stop soon."""
        return self._stop is not None and self._stop.is_set()

    def check_cancelled(self) -> None:
        """Raise JobCancelled when `cancelled` is true."""
        if self.cancelled:
            raise JobCancelled("this run is to stop", jid=self.jid)

    def stop(self) -> None:
        """Ask the running code to stop; called by the queue worker."""
        self.stopper().set()

    def stopper(self) -> Event:
        """The event behind `cancelled`, made when it is first needed."""
        if self._stop is None:
            self._stop = Event()
        return self._stop


CURRENT: ContextVar[CurrentJob | None] = ContextVar("procession_current_job", default=None)


def current_job() -> CurrentJob:
    """The job that is running here. Raises ConfigError outside a job."""
    job = CURRENT.get()
    if job is None:
        raise ConfigError("current_job() was called outside a running job")
    return job
