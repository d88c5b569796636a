"""One claimed job while it is here, and the shape of what performs it. The performer holds the first and calls the
second; the loop, threads and job processes have that shape. Nothing here waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from procession.events import Event
from procession.runtime.executor import Run, Verdict
from procession.runtime.slots import Places


class Active(msgspec.Struct, eq=False):
    """One claimed job here, until its outcome is settled."""

    run: Run
    executor: Executor
    started: float = 0.0
    event: Event | None = None
    """What handlers are told once its outcome is settled."""
    thread: int = 0
    """In which thread it runs, where it has one."""
    coroutine: Coroutine[Any, Any, Verdict] | None = None
    """What runs of it on the loop, once it waits."""
    logged: bool = False
    """The log says that it started."""
    took: float | None = None
    """Seconds that it ran, once it ended; None when it never began."""
    watched: bool = False
    """Somebody looks whether its time is over."""
    done: bool = False
    """Its outcome is known; what its code still does no longer counts."""


class Performance(Protocol):
    """What an executor tells its performer. All on the worker's loop."""

    alive_until: float
    """Until when our lease cannot have ended, by `clock.monotonic()`: afterwards what waits here may be another
    worker's, and does not begin."""

    def began(self, active: Active, now: float) -> None:
        """The code of this run begins now, by `clock.monotonic()`, or began then: its time counts from there."""
        ...

    def goes_on(self, active: Active) -> None:
        """It runs while the loop turns, so its time is to be watched."""
        ...

    def ended(self, active: Active, verdict: Verdict, now: float) -> None:
        """The run came to an outcome, now. Only the first that is said of a run counts."""
        ...

    def given_up(self, active: Active, why: str) -> None:
        """It was told to stop and will not say any more what came of it: that is judged here, and its hook called."""
        ...

    def written_off(self, active: Active) -> None:
        """It was told to stop and goes on: it is given up, and its place is lost until it ends."""
        ...

    def all_ended(self, ended: Sequence[tuple[Active, Verdict]]) -> None:
        """These runs, which took what `took` says, came to an outcome, and nothing was said of them before."""
        ...

    def cannot(self, active: Active, why: str) -> None:
        """The executor cannot perform this job, which has not begun."""
        ...

    def overdue(self, waiting: Sequence[Active]) -> None:
        """These jobs, all of one executor, were expected to begin long ago, and have not."""
        ...

    def place_freed(self) -> None:
        """Something else may run now."""
        ...


class Executor(Protocol):
    """A way to perform jobs: `executor=` of a job names one."""

    kind: str
    """In words: "on the loop", "in a thread", "in a process"."""
    waiting: deque[Active]
    """Runs that have not begun."""

    def put(self, active: Active) -> None:
        """Take this run in; it begins as it is filled, now or when there is a place for it."""
        ...

    def fill(self) -> None:
        """Begin what waits, as far as there are places and it may begin."""
        ...

    def fill_soon(self) -> None:
        """`fill`, when the loop turns."""
        ...

    def withdraw(self, active: Active) -> bool:
        """Take a run back that has not begun. False when it has."""
        ...

    def stop(self, active: Active) -> None:
        """End a run that has begun, as far as Python lets us; `active.run.stopped` says why."""
        ...

    def places(self) -> Places:
        """How many runs it has room for."""
        ...

    def has_place(self, active: Active) -> bool:
        """Whether a place of its kind is free for a run that waits here for a process of its own."""
        ...

    async def stack(self, active: Active) -> str:
        """Where the code of a run is now; "" when that cannot be said."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


OVERDUE = 1.0
"""Seconds after which what waits for a place is given back, once it has waited through all of them: runs have become
longer than they were when it was claimed ahead, or are of another kind. Looked at as often."""


class Waiting:
    """The part of an executor that is the same for all: runs wait in order until there is a place, but not for ever."""

    def __init__(self, performance: Performance, size: int) -> None:
        self.size = size
        self.lent = 0
        """Places of runs of this kind that have a process of their own, or wait for one."""
        self.performance = performance
        self.waiting: deque[Active] = deque()
        self.loop = asyncio.get_running_loop()
        self._filling = False
        self._seen: set[Active] = set()
        """What waited at the last look."""
        self._watch: asyncio.TimerHandle | None = None

    def put(self, active: Active) -> None:
        """See `Executor.put`."""
        self.waiting.append(active)
        if self._watch is None:
            self._watch = self.loop.call_later(OVERDUE, self._look)

    def fill_soon(self) -> None:
        """See `Executor.fill_soon`."""
        if not self._filling:
            self._filling = True
            self.loop.call_soon(self._fill_now)

    @property
    def running(self) -> int:
        """How many places have a run in them."""
        raise NotImplementedError

    def lend(self, places: int) -> None:
        """So many places are lent from now on. Those with a run in them become free as it ends."""
        more, self.lent = self.lent > places, places
        if more:
            self.fill_soon()

    def has_place(self, active: Active) -> bool:
        """See `Executor.has_place`."""
        return True

    def about_to_begin(self) -> int:
        """How many of those that wait have a place that is being made."""
        return 0

    def close_waiting(self) -> None:
        """Begin nothing and give nothing back any more."""
        self.waiting.clear()
        if self._watch is not None:
            self._watch.cancel()

    def _fill_now(self) -> None:
        self._filling = False
        self.fill()

    def _look(self) -> None:
        self._watch = None
        if overdue := [it for it in [*self.waiting][self.about_to_begin() :] if it in self._seen]:
            self.performance.overdue(overdue)
        self._seen = {*self.waiting}
        if self._seen:
            self._watch = self.loop.call_later(OVERDUE, self._look)

    def withdraw(self, active: Active) -> bool:
        """See `Executor.withdraw`."""
        if active not in self.waiting:
            return False
        self.waiting.remove(active)
        return True

    def fill(self) -> None:
        """See `Executor.fill`."""
        raise NotImplementedError
