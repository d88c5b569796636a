"""Where `async def` jobs run: in tasks on the worker's loop.

A task costs more than a short job does. So one task performs jobs one after the other until one of them waits; another
task goes on with the rest meanwhile. No job can tell: each has a context of its own, and a task in which a job left
anything (a reference, a callback, a request to cancel it) performs no other. Called by the performer.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from functools import partial
from sys import getrefcount
from weakref import getweakrefcount

from procession.clock import monotonic
from procession.runtime.active import Active, Performance, Waiting
from procession.runtime.coroutines import going_on
from procession.runtime.executor import CANCEL_GRACE, Verdict, perform_async
from procession.runtime.pace import Pace
from procession.runtime.slots import Places
from procession.runtime.stacks import of_coroutine

log = logging.getLogger("procession.worker")

TURN = 0.005
"""Seconds after which the loop turns once, where jobs follow each other and none waits."""


class LoopExecutor(Waiting):
    """`async def` jobs on the worker's loop."""

    kind = "on the loop"

    def __init__(self, performance: Performance, worker: str, size: int) -> None:
        super().__init__(performance, size)
        self._worker = worker
        self._owner = asyncio.current_task()
        self._cancelled = self._owner.cancelling() if self._owner else 0
        """How often it was before; a program that was cancelled may run a worker as its last act."""
        self._tasks: dict[Active, asyncio.Task[None]] = {}
        self._written_off: set[Active] = set()
        self._coming = False
        """A task was made that has not begun."""
        self._pace = Pace(size)
        made = partial(asyncio.Task, loop=self.loop)  # what the loop does, but for a call in between
        self._new_task = self.loop.create_task if self.loop.get_task_factory() else made

    @property
    def running(self) -> int:
        """See `Waiting.running`."""
        return len(self._tasks)

    @property
    def lost(self) -> int:
        """Coroutines written off that have not ended."""
        return len(self._written_off)

    def fill(self) -> None:
        """See `Waiting.fill`."""
        if self._coming or not self.waiting or len(self._tasks) >= self.size - self.lent:
            return
        if monotonic() < self.performance.alive_until:
            self._coming = True
            self._new_task(self._perform_those_waiting())

    def stop(self, active: Active) -> None:
        """Cancel the task; one that does not end is written off, and its place is lost until it does."""
        task = self._tasks.get(active)
        if task is not None:
            task.cancel()
            self.loop.call_later(CANCEL_GRACE, self._write_off, active)

    def places(self) -> Places:
        """See `Executor.places`."""
        return Places(self.size, len(self._tasks) + self.lent, len(self.waiting), self._pace.soon())

    def running_in(self, task: asyncio.Task[object]) -> Active | None:
        """The run in a task. May be asked from another thread."""
        return next((active for active, its in [*self._tasks.items()] if its is task), None)

    async def stack(self, active: Active) -> str:
        """See `Executor.stack`."""
        return of_coroutine(active.coroutine)

    async def close(self) -> None:
        """See `Executor.close`: what still runs ends with the loop."""
        self.close_waiting()

    async def _perform_those_waiting(self) -> None:
        self._coming = False
        task = asyncio.current_task()
        assert task is not None
        performance, waiting, tasks = self.performance, self.waiting, self._tasks
        ended: list[tuple[Active, Verdict]] = []
        untouched = _held(task)
        since = now = monotonic()
        end = now + TURN
        try:
            while waiting and len(tasks) < self.size - self.lent and now < performance.alive_until:
                active = waiting.popleft()
                performance.began(active, now)
                task.set_name(active.run.registered.name)
                tasks[active] = task
                coroutine, context = perform_async(active.run, self._worker, now, self._ends), copy_context()
                try:
                    step = context.run(coroutine.send, None)
                except StopIteration as returned:
                    verdict = returned.value
                else:
                    self._tell(ended, now - since)
                    since, active.coroutine = now, coroutine
                    performance.goes_on(active)
                    self.fill_soon()
                    verdict = await going_on(coroutine, step, context)
                del tasks[active]
                now = monotonic()
                if not active.done:
                    active.took = now - active.started
                    ended.append((active, verdict))
                else:
                    self._written_off.discard(active)
                    performance.place_freed()
                if now > end or _held(task) != untouched:
                    break
        finally:
            self._tell(ended, now - since)
            self.fill()

    def _ends(self) -> bool:
        """The queue worker has been cancelled."""
        return self._owner is not None and self._owner.cancelling() > self._cancelled

    def _tell(self, ended: list[tuple[Active, Verdict]], seconds: float) -> None:
        """These runs ended, one after the other, within so many seconds."""
        if ended:
            self._pace.ended(seconds / len(ended), len(ended))
            self.performance.all_ended(ended)
            ended.clear()

    def _write_off(self, active: Active) -> None:
        if active in self._tasks:
            self._written_off.add(active)
            log.warning(
                "job %s does not stop (%s); its place is lost until it does", active.run.claimed.jid, active.run.stopped
            )
            self.performance.written_off(active)


def _held(task: asyncio.Task[None]) -> tuple[object, ...]:
    """What a job may leave in its task: whoever holds it, is told of its end, or has asked it to end."""
    return getrefcount(task), getweakrefcount(task), task._callbacks, task.cancelling(), task._must_cancel  # type: ignore[attr-defined]
