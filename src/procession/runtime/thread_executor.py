"""Where `def` jobs run: in threads of the worker's own process.

To hand a job to a thread, and to hear from it, costs more than a short job does. So a thread performs what waits, one
job after the other, and the loop hears what has happened when it turns: of many short runs at once.

CPython cannot kill a thread. One that outlives its job's timeout is written off: its place counts as lost until it
returns, and what it then returns goes nowhere. Threads are daemons, so that a stuck one never keeps the process from
ending. Called by the performer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from procession.clock import monotonic
from procession.runtime.active import Active, Performance, Waiting
from procession.runtime.executor import Verdict, perform, postponed
from procession.runtime.pace import Pace
from procession.runtime.slots import Places
from procession.runtime.stacks import of_thread

log = logging.getLogger("procession.worker")

SHORT = 0.005
"""Seconds after which a run that goes on is no short one: its start is told, and its time watched."""


class ThreadExecutor(Waiting):
    """`def` jobs in threads."""

    kind = "in a thread"

    def __init__(self, performance: Performance, worker: str, size: int) -> None:
        super().__init__(performance, size)
        self._worker = worker
        self._pace = Pace(size)
        self._pool = ThreadPool(size)
        self._lock = threading.Lock()
        """Held to move a run from one of these to another, and to count threads."""
        self._running: set[Active] = set()
        self._written_off: set[Active] = set()
        self._ended: list[tuple[Active, Verdict]] = []
        """What the loop has not heard of yet."""
        self._working = 0
        """Threads with a run of these two sets, and those between two runs."""
        self._hearing = False
        """The loop is going to hear, as it turns …"""
        self._looking = False
        """… or to look in a moment."""

    @property
    def running(self) -> int:
        """See `Waiting.running`."""
        return len(self._running) + self.lost

    @property
    def lost(self) -> int:
        """Threads written off that have not returned."""
        return len(self._written_off)

    def fill(self) -> None:
        """See `Waiting.fill`."""
        while self.waiting:
            with self._lock:
                if self._working >= self.size - self.lent or (active := self._taken()) is None:
                    return
                self._working += 1
            try:
                self._pool.submit(partial(self._perform, active))
            except RuntimeError as error:  # the system has none to give
                if not self._put_back(active, error):
                    return
            else:
                self._tell_of(active)

    def lend(self, places: int) -> None:
        """See `Waiting.lend`."""
        with self._lock:
            super().lend(places)

    def withdraw(self, active: Active) -> bool:
        """See `Executor.withdraw`."""
        with self._lock:
            return super().withdraw(active)

    def stop(self, active: Active) -> None:
        """Write the thread off."""
        with self._lock:
            if active not in self._running:
                return
            self._running.remove(active)
            self._written_off.add(active)
        if not active.logged:
            self._tell_of(active)
        log.warning(
            "job %s is not to go on (%s); its thread is lost until it returns",
            active.run.claimed.jid, active.run.stopped,
        )  # fmt: skip
        self.performance.written_off(active)

    def places(self) -> Places:
        """See `Executor.places`."""
        return Places(self.size, self.running + self.lent, len(self.waiting), self._pace.soon())

    async def stack(self, active: Active) -> str:
        """See `Executor.stack`."""
        return of_thread(active.thread) if active.thread else ""

    async def close(self) -> None:
        """See `Executor.close`: busy threads end with their work, or with the process."""
        with self._lock:
            self.close_waiting()
        self._hear()
        self._pool.close()

    # In a thread

    def _perform(self, active: Active | None) -> None:
        while active is not None:
            active.thread, began = threading.get_ident(), monotonic()
            active.started = active.started or began
            self._over(active, perform(active.run, self._worker), began)
            with self._lock:
                active = self._taken() if self._working <= self.size - self.lent else None
                self._working -= active is None

    def _over(self, active: Active, verdict: Verdict, began: float) -> None:
        active.thread = 0
        if not active.done:
            active.took = monotonic() - began
        with self._lock:
            self._running.discard(active)
            self._written_off.discard(active)
            self._ended.append((active, verdict))
            hearing, self._hearing = self._hearing, True
        if not hearing:
            with suppress(RuntimeError):  # a thread that was written off may outlive the loop
                self.loop.call_soon_threadsafe(self._hear)

    def _taken(self) -> Active | None:
        """What has waited longest runs now; None when nothing may. Called with the lock."""
        if not self.waiting or monotonic() >= self.performance.alive_until:
            return None
        active = self.waiting.popleft()
        active.run.cut()  # so that its time can be watched, however late the thread comes to begin it
        self._running.add(active)
        return active

    # On the loop

    def _put_back(self, active: Active, error: RuntimeError) -> bool:
        """No thread could be started for this run: one that is there performs it, now or in a moment, or this worker
        none now. False when one is there."""
        log.error("a thread could not be started: %s", error)
        with self._lock:
            self._running.discard(active)
            self._working -= 1
            if self._pool.started > self.lost:
                self.waiting.appendleft(active)
                self.loop.call_later(SHORT, self.fill)  # those that worked may have ended meanwhile
                return False
        why = f"a thread could not be started: {error}"
        self.performance.ended(active, postponed(active.run.claimed, why, why), monotonic())
        return True

    def _hear(self) -> None:
        """Tell what has ended, and of what goes on that it does."""
        with self._lock:
            ended, self._ended, self._hearing = self._ended, [], False
            running = [*self._running]
        counted = [(active, verdict) for active, verdict in ended if not active.done]
        since = monotonic() - SHORT
        going_on = [it for it in running if 0 < it.started < since and not (it.logged or it.done)]
        for active in going_on:
            self._tell_of(active)
        for active, _ in counted:
            if not active.logged:
                self.performance.began(active, active.started)
        if counted:
            self._pace.ended(sum(active.took or 0.0 for active, _ in counted) / len(counted), len(counted))
            self.performance.all_ended(counted)
        self.fill()
        if ended:
            self.performance.place_freed()
        self._look_soon()

    def _tell_of(self, active: Active) -> None:
        """Tell of a run that a thread begins, or began by itself, and that goes on."""
        self.performance.began(active, active.started or monotonic())
        self.performance.goes_on(active)

    def _look_soon(self) -> None:
        """Hear of what goes on in a moment, if a thread performs one of which nothing is told yet, or is about to."""
        told = self.lost + sum(active.logged or active.done for active in [*self._running])
        if self._working > told and not self._looking:
            self._looking = True
            self.loop.call_later(SHORT, self._looked)

    def _looked(self) -> None:
        self._looking = False
        self._hear()


class ThreadPool:
    """Up to `size` threads, started as they are needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.started = 0
        """How many there are."""
        self._idle = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread. It must not raise. Raises RuntimeError when one is needed and cannot be started."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self.started < self.size:
                threading.Thread(target=self._run, name=f"procession-{self.started + 1}", daemon=True).start()
                self.started += 1
        self._work.put(work)

    def close(self) -> None:
        """Let idle threads end; busy ones end with their work."""
        for _ in range(self.started):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            with self._lock:
                self._idle += 1
