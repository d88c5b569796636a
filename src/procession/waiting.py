"""Waiting for many jobs at once: `wait_all`, `as_completed`. One waiting caller, one bell, one trip per look.

What is decided stands in `Awaited` and does no I/O; the four functions ask, block and hand out. The states of all jobs
that are not finished are read in one round trip: at first, after each ring, and every five seconds at the latest. After
a ring it pauses a moment that grows with the number of jobs, so that jobs which end together cost one look and not one
each. For a single job see `handle.py`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from procession.client import Procession
from procession.clock import milliseconds, monotonic
from procession.database import Operation
from procession.errors import ConfigError, JobNotFound, ResultPending
from procession.handle import BLOCK, JobHandle, check_place
from procession.job import Job, State

R = TypeVar("R")
Duration = float | str | timedelta

MOST = 10_000
"""Most jobs that one call awaits."""
LOOK = 1_000
"""Most jobs that one script looks at."""
PAUSE = 20e-6
"""Seconds of pause after a ring, per job still awaited: 20 ms for a thousand."""


def wait_all(
    handles: Iterable[JobHandle[Any]], timeout: Duration | None = None, *, inside_job: bool = False
) -> list[Job]:
    """Block until every job is processed, failed or cancelled; the records, in the order of the handles.

    Args:
        handles: of one app, 10,000 at most; the same job may be given twice.
        timeout: for all together; None waits for ever.

    Raises:
        ResultPending: `timeout` passed first; `jid` is one that is not finished.
        JobNotFound: one is not there (any more).
        Unavailable: the store went away meanwhile; the jobs may be awaited again.
        ConfigError: called inside a job without `inside_job=True`, or with something else than handles of one app.
    """
    awaited = Awaited(handles, timeout, inside_job)
    if awaited.app is None:
        return []
    connection = awaited.app.connection()
    for _ in _completed(awaited):
        pass
    return awaited.records(_answers(connection.ask(*awaited.found())))


async def wait_all_async(
    handles: Iterable[JobHandle[Any]], timeout: Duration | None = None, *, inside_job: bool = False
) -> list[Job]:
    """See `wait_all`."""
    awaited = Awaited(handles, timeout, inside_job)
    if awaited.app is None:
        return []
    connection = awaited.app.connection_async()
    async for _ in _completed_async(awaited):
        pass
    return awaited.records(_answers(await connection.ask(*awaited.found())))


def as_completed(
    handles: Iterable[JobHandle[R]], timeout: Duration | None = None, *, inside_job: bool = False
) -> Iterator[JobHandle[R]]:
    """The handles, each as soon as its job is finished: processed, failed or cancelled. `handle.result()` says which.

    Args and Raises: see `wait_all`. An error comes when nothing more is finished; what was before has been handed out.
    """
    return _completed(Awaited(handles, timeout, inside_job))


def as_completed_async(
    handles: Iterable[JobHandle[R]], timeout: Duration | None = None, *, inside_job: bool = False
) -> AsyncIterator[JobHandle[R]]:
    """See `as_completed`; for `async for`."""
    return _completed_async(Awaited(handles, timeout, inside_job))


def _completed(awaited: Awaited) -> Iterator[JobHandle[Any]]:
    if awaited.app is None:
        return
    connection = awaited.app.connection()
    while True:
        yield from awaited.finished(_answers(connection.ask(*awaited.looks())))
        if not awaited.pending:
            return
        if connection.wait([awaited.bell], awaited.left()) is not None:
            time.sleep(awaited.pause())


async def _completed_async(awaited: Awaited) -> AsyncIterator[JobHandle[Any]]:
    import asyncio  # not at the top: a program without an event loop loads none

    if awaited.app is None:
        return
    connection = awaited.app.connection_async()
    while True:
        for handle in awaited.finished(_answers(await connection.ask(*awaited.looks()))):
            yield handle
        if not awaited.pending:
            return
        if await connection.wait([awaited.bell], awaited.left()) is not None:
            await asyncio.sleep(awaited.pause())


def _answers(answers: Any) -> list[Any]:
    """The answers to one or several questions about a part of the jobs each, as one list."""
    return [*answers] if isinstance(answers, list) else [it for answer in answers for it in answer]


class Awaited:
    """The jobs of one call: which are not finished, what to ask about them, and until when."""

    def __init__(self, handles: Iterable[JobHandle[Any]], timeout: Duration | None, inside_job: bool) -> None:
        self._handles = list(handles)
        check_place(inside_job)
        for it in self._handles:
            if not isinstance(it, JobHandle):
                raise ConfigError(f"{it!r:.200} is no handle: wait for what enqueue returned, or for app.handle(jid)")
        if len(self._handles) > MOST:
            raise ConfigError(f"{len(self._handles):,} jobs are awaited at once, {MOST:,} are allowed; wait in parts")
        apps = {id(handle.app): handle.app for handle in self._handles}
        if len(apps) > 1:
            raise ConfigError("these handles are of several apps; wait for each app's own")
        self.app: Procession | None = next(iter(apps.values()), None)
        self.pending: dict[UUID, JobHandle[Any]] = {handle.jid: handle for handle in self._handles}
        self._waiter = uuid4().hex
        self._deadline = None if timeout is None else monotonic() + milliseconds(timeout, "timeout") / 1_000

    @property
    def bell(self) -> str:
        """What rings when one of them is finished."""
        return f"@{self._waiter}"

    def looks(self) -> list[Operation[list[State | None]]]:
        """The questions about all that are not finished."""
        assert self.app is not None
        return [self.app.database.watch(part, self._waiter) for part in _parts([*self.pending])]

    def found(self) -> list[Operation[list[Job | None]]]:
        """The questions for the records of all."""
        assert self.app is not None
        return [self.app.database.find(part) for part in _parts([handle.jid for handle in self._handles])]

    def finished(self, states: Sequence[State | None]) -> Iterator[JobHandle[Any]]:
        """Those that are finished by now. Raises JobNotFound behind the last of them when one is not there."""
        missing = None
        for jid, state in zip([*self.pending], states, strict=True):
            if state is None:
                missing = jid
            elif state.final:
                yield self.pending.pop(jid)
        if missing is not None:
            raise _not_there(missing)

    def records(self, jobs: Sequence[Job | None]) -> list[Job]:
        """The records of all, in the order of the handles. Raises JobNotFound."""
        found = []
        for handle, job in zip(self._handles, jobs, strict=True):
            if job is None:
                raise _not_there(handle.jid)
            found.append(handle.app.opened(job))
        return found

    def left(self) -> float:
        """Seconds to block for now. Raises ResultPending when the time is over."""
        left = BLOCK if self._deadline is None else self._deadline - monotonic()
        if left <= 0:
            jid = next(iter(self.pending))
            several = f"{len(self.pending):,} of {len(self._handles):,} jobs"
            raise ResultPending(f"{several} are not finished, {jid} for example", jid=jid)
        return min(BLOCK, left)

    def pause(self) -> float:
        """Seconds to let others end, after a ring."""
        left = 1.0 if self._deadline is None else max(self._deadline - monotonic(), 0)
        return min(PAUSE * len(self.pending), left)


def _parts(jids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (jids[first : first + LOOK] for first in range(0, len(jids), LOOK))


def _not_there(jid: UUID) -> JobNotFound:
    return JobNotFound(f"no job {jid}: never enqueued, removed, or its retention is over", jid=jid)
