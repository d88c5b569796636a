"""Drills: one job run the way a bad day runs it, and a report of which of its effects happened more than once.

The workers are real; a drill only ends one of them where it chooses, or holds it up while another takes its job over.
A killed worker is silent from that moment: its outcome never reaches the store, its supervisor says how it died, and
the job runs again. Within one process nothing can be stopped like by SIGKILL, so the run is ended by an exception that
no `except Exception` holds back; what `finally` blocks do then is marked in the report and not counted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from msgspec import Struct

from procession.context import CurrentJob
from procession.errors import ConfigError
from procession.job import Crash, Job
from procession.runtime.identity import new_worker_id
from procession.testing.effects import Effect, Effects
from procession.testing.performing import Attempt, Crew, raise_errors
from procession.testing.seam import Seam

At = Literal["start", "end"] | int
"""Where a drill strikes: before the function is called, after it returned and before that was settled, or right after
the effect with this number, counted from 1."""

KILLED = Crash(how="signal 9 (SIGKILL)")


class Killed(BaseException):
    """Ends a run in the place of a signal. Not for `except Exception`."""


class Report(Struct, frozen=True, kw_only=True):
    """What a drill came to. `str` says it for people; `assert_idempotent` fails where an effect was repeated."""

    scenario: str
    job: Job
    """The job as it is stored after the last run."""
    attempts: tuple[Attempt, ...]
    """Each attempt, in the order in which they ended."""
    runs: tuple[tuple[Effect, ...], ...]
    """The effects of each run, in the order in which the runs began."""
    refused: bool
    """The store refused an outcome that came too late."""

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Everything that a real death would have let happen, in the order of the runs."""
        return tuple(it for run in self.runs for it in run if not it.unwinding)

    @property
    def repeated(self) -> tuple[Effect, ...]:
        """Effects of a later run that an earlier one had had: the same call with the same arguments. An enqueue that
        made no second job and a call with the same idempotency key are not repeated; with another key it is."""
        return self._compared()[0]

    @property
    def again(self) -> tuple[Effect, ...]:
        """What a later run did as an earlier one had, with other arguments: for a person to judge. A job that goes on
        where it was has these, and so has one that draws a new random id in each run."""
        return self._compared()[1]

    def _compared(self) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
        repeated: list[Effect] = []
        again: list[Effect] = []
        had: Counter[tuple[str, ...]] = Counter()
        keys: set[tuple[str, str]] = set()
        whats: set[tuple[str, str]] = set()
        for run in self.runs:
            counted = [it for it in run if it.changed and not it.unwinding]
            left = had.copy()
            for it in counted:
                same = _identity(it)
                if it.key is not None and (it.what, it.key) in keys:
                    continue
                if left[same] > 0:
                    left[same] -= 1
                    repeated.append(it)
                elif (it.kind, it.what) in whats:
                    again.append(it)
            had |= Counter(_identity(it) for it in counted)
            keys |= {(it.what, it.key) for it in counted if it.key is not None}
            whats |= {(it.kind, it.what) for it in counted}
        return tuple(repeated), tuple(again)

    def assert_idempotent(self) -> None:
        """Raise AssertionError when an effect was repeated, or when no effect was seen at all, which proves nothing."""
        __tracebackhide__ = True
        if self.repeated:
            raise AssertionError(f"{self.job.name} is not idempotent\n{self}")
        if not self.effects:
            raise AssertionError(
                f"no effect of {self.job.name} was seen, so nothing is proved: it enqueued nothing; name what else it"
                " does with effects.watch(module, 'function') or effects.record(…)"
            )

    def __str__(self) -> str:
        lines = [f"{self.scenario}: {self.job.name} is now {self.job.state}"]
        repeated, again = self._compared()
        for number, run in enumerate(self.runs, 1):
            lines.append(f"  run {number}:" + (" no effect was seen" if not run else ""))
            for it in run:
                sign = "REPEATED" if _among(it, repeated) else "again, otherwise" if _among(it, again) else ""
                sign = "while it unwound, not counted" if it.unwinding else sign or ("" if it.changed else "no new job")
                lines.append(f"    {it}" + (f"    <- {sign}" if sign else ""))
        if self.refused:
            lines.append("  the outcome that came too late was refused")
        return "\n".join(lines)


def _identity(effect: Effect) -> tuple[str, ...]:
    return effect.kind, effect.what, effect.details


def _among(effect: Effect, found: Sequence[Effect]) -> bool:
    return any(it is effect for it in found)


class Striking:
    """Waits in a run for its place and does what a drill does there, once."""

    def __init__(self, at: At, effects: Effects, act: Callable[[CurrentJob], None]) -> None:
        if at not in ("start", "end") and (not isinstance(at, int) or isinstance(at, bool) or at < 1):
            raise ConfigError(f'at={at!r} must be "start", "end", or the number of an effect, from 1')
        self.at = at
        self.struck = False
        self.ended = asyncio.Event()
        self.seen = 0
        self._loop = asyncio.get_running_loop()
        self._effects = effects
        self._act = act

    def begins(self, job: CurrentJob) -> None:
        """See `Strike.begins`."""
        if self.at == "start":
            self._strike(job)

        def count(fence: int) -> None:
            if fence == job.fence:
                self.seen += 1
                if self.seen == self.at:
                    self._strike(job)

        self._effects.struck = count

    def returned(self, job: CurrentJob) -> None:
        """See `Strike.returned`."""
        if self.at == "end":
            self._strike(job)

    def over(self, job: CurrentJob) -> None:
        """See `Strike.over`."""
        self._effects.struck = lambda fence: None
        with suppress(RuntimeError):  # the loop has ended first
            self._loop.call_soon_threadsafe(self.ended.set)

    def _strike(self, job: CurrentJob) -> None:
        if not self.struck:
            self.struck = True
            self._act(job)


class Drill:
    """One job of one app in the hands of workers that have nothing else to do."""

    def __init__(self, crew: Crew, seam: Seam, job: Job, *, patience: float) -> None:
        self.crew = crew
        self.seam = seam
        self.job = job
        self.patience = patience
        self._first = len(crew.attempts)
        self._seen = len(crew.around.effects.log)
        self._began = len(crew.around.began)

    async def crash(self, at: At, scenario: str) -> Report:
        """The worker dies in the run; another one runs the job again."""
        worker = new_worker_id()

        def die(job: CurrentJob) -> None:
            self.seam.dead.add(worker)
            self.crew.around.effects.killed.add(job.fence)
            raise Killed(f"killed at {at}")

        striking = Striking(at, self.crew.around.effects, die)
        life = await self._begin(worker, striking)
        dying = asyncio.ensure_future(striking.ended.wait())
        parts: set[asyncio.Future[Any]] = {life, dying}
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if striking.struck:
                await dying
                life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        finally:
            for part in parts:
                part.cancel()
        if not life.cancelled():
            life.result()  # what ended the worker itself, a lifespan that cannot open for example
        self._check(striking)
        await self.crew.app.ask_async(self.crew.app.database.leave(worker, crash=KILLED))
        self.crew.gone()
        await self._run_again()
        return await self._report(scenario)

    async def lose_lease(self, at: At) -> Report:
        """The worker stands still in the run, as a suspended machine does; another takes the job and runs it to its
        end; then the first goes on."""
        worker = new_worker_id()
        errors: list[BaseException] = []
        slow = TimeoutError(f"the other worker has not run the job within {self.patience:g} s of real time")

        def be_overtaken(_: CurrentJob) -> None:
            thread = threading.Thread(target=self._elsewhere, args=(worker, errors), daemon=True)
            struck, self.crew.around.effects.struck = self.crew.around.effects.struck, lambda fence: None
            thread.start()
            thread.join(self.patience)
            if thread.is_alive():
                errors.append(slow)
            self.crew.around.effects.struck = struck

        striking = Striking(at, self.crew.around.effects, be_overtaken)
        life = await self._begin(worker, striking)
        await life
        self.crew.gone("refused", "the worker had learned that its lease was lost")  # had it been held up for so long
        self._check(striking)
        if errors:
            raise errors[0]
        return await self._report("the lease was lost, and another worker ran the job meanwhile")

    async def _begin(self, worker: str, striking: Striking) -> asyncio.Future[None]:
        self.crew.around.strikes[self.job.jid] = [striking]
        self.seam.only[worker] = self.job.jid
        return asyncio.ensure_future(self.crew.worker([self.job.queue], worker).run())

    def _check(self, striking: Striking) -> None:
        self.crew.around.strikes.pop(self.job.jid, None)
        if not striking.struck:
            mine = [it for it in self.crew.attempts[self._first :] if it.jid == self.job.jid]
            if mine and mine[-1].error is not None:
                raise mine[-1].error
            raise ConfigError(
                f"the run {mine[-1].came_to} and never came to at={striking.at!r}; it had {striking.seen} effects"
                if mine
                else f"job {self.job.jid} was not handed out; is its queue {self.job.queue} paused?"
            )

    async def _run_again(self) -> None:
        worker = new_worker_id()
        self.seam.only[worker] = self.job.jid
        await self.crew.worker([self.job.queue], worker).run()

    def _elsewhere(self, worker: str, errors: list[BaseException]) -> None:
        """In a thread with a loop of its own: the other worker, with resources of its own."""
        app = self.crew.app
        policies = app.registry.policies
        shared, policies.lifespan = policies.lifespan, policies.lifespan.anew()
        app.registry.policies_changed()

        async def take_over() -> None:
            try:
                await app.ask_async(app.database.leave(worker, crash=Crash(how="lease ended")))
                await self._run_again()
            finally:
                await app.close_async()

        try:
            asyncio.run(take_over())
        except BaseException as error:
            errors.append(error)
        finally:
            policies.lifespan = shared
            app.registry.policies_changed()

    async def _report(self, scenario: str) -> Report:
        attempts = tuple(it for it in self.crew.attempts[self._first :] if it.jid == self.job.jid)
        seen = self.crew.around.effects.log[self._seen :]
        fences = [fence for jid, fence in self.crew.around.began[self._began :] if jid == self.job.jid]
        found = await self.crew.app.find_job_async(self.job.jid)
        raise_errors(attempts)
        return Report(
            scenario=scenario, job=found or self.job, attempts=attempts,
            runs=tuple(tuple(it for it in seen if it.fence == fence) for fence in fences),
            refused=any(it.came_to == "refused" for it in attempts),
        )  # fmt: skip
