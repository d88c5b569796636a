"""Waiting for a job: `JobHandle`, what every enqueue returns.

Waiting reads the state first, notes the interest, and then blocks on a bell of its own; it reads again at each ring and
every five seconds at the latest. It ends on a final state or at its deadline, and never polls hot. Async callers wait
in `waiter.py`, so that a program without an event loop loads none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast
from uuid import UUID, uuid4

import msgspec

from procession.clock import milliseconds, monotonic
from procession.context import CURRENT
from procession.errors import ConfigError, JobCancelled, JobFailed, JobNotFound, ResultPending, Sealed
from procession.job import Job, State
from procession.sealing import is_sealed

if TYPE_CHECKING:
    from datetime import timedelta

    from procession.client import Procession
    from procession.registry import Registered

R = TypeVar("R")

BLOCK = 5.0
"""Longest that a waiting caller blocks before it reads the state again, in seconds."""


def check_place(inside_job: bool) -> None:
    """Raises ConfigError inside a job, unless its author allows to wait there."""
    if CURRENT.get() is not None and not inside_job:
        raise ConfigError(
            "waiting for a job inside a job can block every place that it needs; enqueue the next step from here,"
            " or allow it with inside_job=True"
        )


class JobHandle(Generic[R]):
    """One enqueued job. `duplicate` is True when its jid was stored before this enqueue, or when another job holds its
    unique key: then this is the handle of that one."""

    __slots__ = ("_app", "_registered", "duplicate", "jid")

    def __init__(
        self, app: Procession, jid: UUID, registered: Registered | None = None, duplicate: bool = False
    ) -> None:
        self._app = app
        self._registered = registered
        self.jid = jid
        self.duplicate = duplicate

    def __repr__(self) -> str:
        return f"<JobHandle {self.jid}>"

    @property
    def app(self) -> Procession:
        """The app that enqueued it."""
        return self._app

    def job(self) -> Job:
        """The job as it is stored now. Raises JobNotFound."""
        return self._found(self._app.find_job(self.jid))

    async def job_async(self) -> Job:
        """See `job`."""
        return self._found(await self._app.find_job_async(self.jid))

    def wait(self, timeout: float | str | timedelta | None = None, *, inside_job: bool = False) -> Job:
        """Block until the job is processed, failed or cancelled, and return it.

        Raises:
            ResultPending: `timeout` passed first (None waits for ever).
            JobNotFound: there is no such job (any more).
            Unavailable: the store went away meanwhile; the job may be awaited again.
            ConfigError: called inside a job, where it holds a place that the awaited job may need;
                `inside_job=True` allows it.
        """
        deadline = self._deadline(timeout, inside_job)
        connection, database, waiter = self._app.connection(), self._app.database, uuid4().hex
        while True:
            state = connection.ask(database.watch([self.jid], waiter))[0]
            if state is None:
                raise self._missing()
            if state.final:
                return self.job()
            connection.wait([f"@{waiter}"], self._left(deadline))

    async def wait_async(self, timeout: float | str | timedelta | None = None, *, inside_job: bool = False) -> Job:
        """See `wait`."""
        deadline = self._deadline(timeout, inside_job)
        try:
            state = await self._app.waiter().final_state(self.jid, deadline)
        except TimeoutError:
            raise self._pending() from None
        if state is None:
            raise self._missing()
        return await self.job_async()

    def result(self, timeout: float | str | timedelta | None = None, *, inside_job: bool = False) -> R:
        """Wait, and return what the job returned.

        Raises:
            JobFailed, JobCancelled: how it ended otherwise; `.job` holds the record.
            ResultPending, JobNotFound, Unavailable, ConfigError: see `wait`.
        """
        return self._value(self.wait(timeout, inside_job=inside_job))

    async def result_async(self, timeout: float | str | timedelta | None = None, *, inside_job: bool = False) -> R:
        """See `result`."""
        return self._value(await self.wait_async(timeout, inside_job=inside_job))

    def cancel(self, reason: str = "cancelled") -> bool:
        """Cancel the job, whatever its state. False when it was finished already, or is not there."""
        return self._app.cancel(self.jid, reason)

    async def cancel_async(self, reason: str = "cancelled") -> bool:
        """See `cancel`."""
        return await self._app.cancel_async(self.jid, reason)

    def _value(self, job: Job) -> R:
        if job.state is State.FAILED:
            raise JobFailed(f"job {job.jid} ({job.name}) failed: {job.error or job.reason}", job=job)
        if job.state is State.CANCELLED:
            raise JobCancelled(f"job {job.jid} ({job.name}) was cancelled: {job.reason}", job=job)
        raw = job.result if job.result is not None else msgspec.Raw(b"null")
        if is_sealed(raw):
            raise Sealed(f"the result of job {job.jid} is sealed; give this app the codec= and keys of its worker")
        if self._registered is None:
            return cast("R", msgspec.json.decode(raw))
        return cast("R", self._registered.signature.decode_result(raw))

    def _found(self, job: Job | None) -> Job:
        if job is None:
            raise self._missing()
        return job

    def _missing(self) -> JobNotFound:
        return JobNotFound(f"no job {self.jid}: never enqueued, removed, or its retention is over", jid=self.jid)

    def _pending(self) -> ResultPending:
        return ResultPending(f"job {self.jid} is not finished yet", jid=self.jid)

    @staticmethod
    def _deadline(timeout: float | str | timedelta | None, inside_job: bool) -> float | None:
        check_place(inside_job)
        return None if timeout is None else monotonic() + milliseconds(timeout, "timeout") / 1_000

    def _left(self, deadline: float | None) -> float:
        if deadline is None:
            return BLOCK
        left = deadline - monotonic()
        if left <= 0:
            raise self._pending()
        return min(BLOCK, left)
