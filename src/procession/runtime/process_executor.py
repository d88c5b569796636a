"""Where jobs with `executor="process"` run, and suspects: jobs whose runs have killed their process before.

Each job has a process of its own while it runs, so a timeout, a kill, a memory bomb or a segmentation fault is that
job's alone. Processes are started when they are first needed, kept warm, and replaced after a number of jobs and after
every run that was stopped: an exception raised in the middle of anything may have left anything half done.
A suspect takes a place of its own kind meanwhile, so that no more run at once than without it.
Called by the performer; never speaks to the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from procession.clock import monotonic
from procession.job import Crash
from procession.runtime.active import Active, Performance, Waiting
from procession.runtime.executor import CANCEL_GRACE, died
from procession.runtime.frames import Ended, FromJob, Noted, Ready
from procession.runtime.pace import Pace
from procession.runtime.slots import Places
from procession.runtime.spawned import Spawned

log = logging.getLogger("procession.worker")

JOBS, LIFE = 1_000, 30.0
"""A job process makes way after so many runs, and not before so many seconds: what leaks is bounded, and a start now
and then costs next to nothing, however short the runs are."""


class ProcessExecutor(Waiting):
    """Jobs in job processes.

    Args:
        target: `module:app`, what a job process imports.
        kinds: where jobs of other kinds run, by `executor=`.
    """

    kind = "in a process"

    def __init__(
        self, performance: Performance, worker: str, size: int, target: str, kinds: Mapping[str, Waiting]
    ) -> None:
        super().__init__(performance, size)
        self._kinds = kinds
        self._suspects: dict[str, set[Active]] = {kind: set() for kind in kinds}
        """Those that are here, by kind."""
        self._worker = worker
        self._target = target
        self._lives: dict[Spawned, asyncio.Task[None]] = {}
        self._idle: list[Spawned] = []
        self._pace = Pace(size)
        self._closing = False

    def put(self, active: Active) -> None:
        """See `Executor.put`."""
        super().put(active)
        kind = active.run.registered.executor
        if kind in self._suspects:
            self._suspects[kind].add(active)
            self._borrow(kind)

    def fill(self) -> None:
        """See `Waiting.fill`."""
        while self._idle and monotonic() < self.performance.alive_until:
            full = {kind for kind in self._kinds if not self._has_place(kind)}
            active = next((it for it in self.waiting if it.run.registered.executor not in full), None)
            if active is None:
                break
            spawned = self._idle.pop()
            if spawned.alive:
                self.waiting.remove(active)
                self._begin(spawned, active)
        ready = len(self._idle) + self.about_to_begin()
        for _ in range(min(len(self.waiting) - ready, self.size - len(self._lives))):
            self._start()

    def withdraw(self, active: Active) -> bool:
        """See `Executor.withdraw`."""
        withdrawn = super().withdraw(active)
        if withdrawn:
            self._left(active)
        return withdrawn

    def stop(self, active: Active) -> None:
        """Tell the job, then its process. After a timeout the hard timeout does the second."""
        spawned = self._performing(active)
        if spawned is None:
            return
        spawned.stop(active)
        if active.run.stopped != "timeout":
            spawned.end_in(CANCEL_GRACE, spawned.terminate)

    def places(self) -> Places:
        """See `Executor.places`."""
        taken = len(self._lives) - len(self._idle) - self.about_to_begin()
        return Places(self.size, taken, len(self.waiting), self._pace.soon())

    def has_place(self, active: Active) -> bool:
        """See `Executor.has_place`."""
        kind = active.run.registered.executor
        return kind not in self._kinds or self._has_place(kind)

    async def stack(self, active: Active) -> str:
        """See `Executor.stack`."""
        spawned = self._performing(active)
        return await spawned.stacks() if spawned is not None else ""

    async def close(self) -> None:
        """See `Executor.close`."""
        self._closing = True
        self.close_waiting()
        for spawned in [*self._lives]:
            if spawned in self._idle:
                spawned.retire()
            else:
                spawned.kill()
        await asyncio.gather(*self._lives.values(), return_exceptions=True)  # some are cancelled where the loop ends

    # One process

    def _start(self) -> None:
        try:
            spawned = Spawned(self._target)
        except (OSError, RuntimeError) as error:  # no memory, no descriptors, no more processes or threads
            log.error("a job process could not be started: %s", error)
            self._cannot(self.waiting.popleft(), f"a job process could not be started: {error}")
            return
        self._lives[spawned] = asyncio.ensure_future(self._live(spawned))

    async def _live(self, spawned: Spawned) -> None:
        crash = await spawned.live(lambda message: self._heard(spawned, message))
        del self._lives[spawned]
        if spawned in self._idle:
            self._idle.remove(spawned)
        if spawned.names is None and not self._closing:
            self._never_begun(spawned, crash)
        elif spawned.active is not None:
            self._died(spawned, spawned.active, crash)
        self._freed()

    def _begin(self, spawned: Spawned, active: Active) -> None:
        run = active.run
        if spawned.names is not None and run.registered.name not in spawned.names:
            self._idle.append(spawned)
            self._cannot(active, f"{self._target} does not know {run.registered.name} where a job process imports it")
            return
        spawned.begin(active, self._worker)
        run.cut()
        if run.hard_timeout is not None:
            spawned.end_in(run.hard_timeout, lambda: self._overrun(spawned, active))
        self.performance.began(active, monotonic())
        self.performance.goes_on(active)

    def _heard(self, spawned: Spawned, message: FromJob) -> None:
        match message:
            case Ready():
                spawned.names = frozenset(message.names)
                self._rest(spawned)
            case Noted():
                if spawned.active is not None and spawned.active.run.claimed.token == message.token:
                    spawned.active.run.context.notes().paste(message.page)
            case Ended():
                active, spawned.active = spawned.active, None
                spawned.stay()
                assert active is not None
                self._left(active)
                now = monotonic()
                self._pace.ended(now - active.started)
                self.performance.ended(active, message.verdict, now)
                spawned.done += 1
                aged = spawned.done >= JOBS and now - spawned.started > LIFE
                if message.worn or active.run.stopped or aged:
                    spawned.retire()
                else:
                    self._rest(spawned)
            case _:
                spawned.unable = message.why

    def _rest(self, spawned: Spawned) -> None:
        if self._closing:
            spawned.retire()
            return
        self._idle.append(spawned)
        self._freed()

    def _freed(self) -> None:
        if not self._closing:
            self.fill()
            self.performance.place_freed()

    def _overrun(self, spawned: Spawned, active: Active) -> None:
        active.run.context.stop("timeout")
        log.warning("job %s goes on after its hard timeout; its process is ended", active.run.claimed.jid)
        spawned.stop(active)
        spawned.terminate()

    def about_to_begin(self) -> int:
        """See `Waiting.about_to_begin`: a process that starts will begin one."""
        return sum(1 for spawned in self._lives if spawned.names is None)

    def _performing(self, active: Active) -> Spawned | None:
        return next((spawned for spawned in self._lives if spawned.active is active), None)

    # The places of suspects

    @property
    def has_suspects(self) -> bool:
        """Some are here, running or waiting."""
        return any(self._suspects.values())

    def _has_place(self, kind: str) -> bool:
        lender, suspects = self._kinds[kind], self._suspects[kind]
        return lender.running + sum(it.active in suspects for it in self._lives) < lender.size

    def _borrow(self, kind: str) -> None:
        """Take as many places of this kind as its suspects can have processes."""
        lender = self._kinds[kind]
        lender.lend(min(len(self._suspects[kind]), self.size, lender.size))

    def _left(self, active: Active) -> None:
        """It is here no more, so its place is free."""
        kind = active.run.registered.executor
        if kind in self._suspects and active in self._suspects[kind]:
            self._suspects[kind].remove(active)
            self._borrow(kind)

    # How it ended

    def _died(self, spawned: Spawned, active: Active, crash: Crash) -> None:
        run = active.run
        if run.stopped is not None:
            self._left(active)
            run.crash = msgspec.structs.replace(crash, how=f"{crash.how}, ended by its queue worker")
            self.performance.given_up(active, "killed")
        elif spawned.seen_in == f"{run.claimed.jid} attempt {run.claimed.attempt}":
            self._left(active)
            self.performance.ended(active, died(run, crash, self._worker), monotonic())
        else:  # it was gone before it could begin this job, which is none the worse for it
            active.started, active.logged = 0.0, False
            self.waiting.appendleft(active)

    def _never_begun(self, spawned: Spawned, crash: Crash) -> None:
        why = spawned.unable or f"it ended while it started: {crash.how}"
        log.error("a job process cannot begin: %s", why)
        if self.waiting:
            self._cannot(self.waiting.popleft(), f"a job process cannot begin: {why}")

    def _cannot(self, active: Active, why: str) -> None:
        self._left(active)
        self.performance.cannot(active, why)
