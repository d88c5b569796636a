"""The test kit: stands in for the store and the workers of one or several apps while a test runs.

    with Kit(app) as kit:
        place_order(7)
        kit.assert_enqueued(charge, 7)
        kit.run()

The store is the memory database (or a real server), its clock is in the hand of the test, and real queue workers run
the jobs when the test says so. The apps' own settings of where their store is are not looked at; at the end every app
is as it was. The fixture `procession` of the pytest plugin is a `Kit`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

from procession import database as databases
from procession.client import Procession
from procession.clock import instant, wall
from procession.context import CURRENT
from procession.database import Database
from procession.database.memory import MemoryDatabase
from procession.database.memory.store import Store
from procession.enqueuer import Call
from procession.errors import ConfigError, JobNotFound
from procession.handle import JobHandle
from procession.job import Job, State, parse_jid
from procession.testing.drills import At, Drill, Report
from procession.testing.effects import Effects
from procession.testing.enqueued import Enqueued, differences, is_of, missing, unwelcome, wanted
from procession.testing.performing import Attempt, Crew, raise_errors
from procession.testing.seam import Seam
from procession.testing.watching import Watching

T = TypeVar("T")

ROUNDS = 10_000
"""Most times that one call of the kit starts a worker: what comes back for ever ends the test."""
CLOSED = "the test kit is closed: use it within its `with`, or its test"
HELD = ("database", "_connections", "_enqueuer", "_dequeuer")
"""What an app keeps of its store; it is put aside and put back."""


class Kit:
    """See above.

    Args:
        apps: whose jobs are tested. Apps with the same URL and namespace share a store, as they do in earnest.
        store: "memory", or the URL of a real server: a namespace of its own is used there and removed.
        now: what the store's clock shows first; by default this moment. It stands still until `advance`.
        inline: perform jobs when they are enqueued, as within `inline()`.
        concurrency: how many jobs run at once; 1 by default, so that their order is certain.
        patience: seconds of real time that jobs may take between two steps of the clock.
    """

    def __init__(
        self,
        *apps: Procession,
        store: str = "memory",
        now: datetime | None = None,
        inline: bool = False,
        concurrency: int = 1,
        patience: float = 30.0,
    ) -> None:
        if not apps or not all(isinstance(app, Procession) for app in apps):
            raise ConfigError("the test kit needs an app: Kit(app), with the Procession that your jobs belong to")
        self.apps = tuple(dict.fromkeys(apps))
        self.effects = Effects()
        """What runs do to the world outside: name it here, so that drills can compare runs."""
        self._now = wall() if now is None else instant(now, "now")
        self._store = store
        self._inline = inline
        self._patience = patience
        self._log: list[Enqueued] = []
        self._attempts: list[Attempt] = []
        self._crews = {id(app): Crew(app, self.effects, self._attempts, concurrency=concurrency) for app in self.apps}
        self._seams: dict[int, Seam] = {}
        self._undo = ExitStack()
        self._runner: asyncio.Runner | None = None
        self._working = False
        self._open = False

    # Life

    def __enter__(self) -> Self:
        real: dict[tuple[str, str], Database] = {}
        for app in self.apps:
            where = _place(app)
            if where not in real:
                real[where] = self._database(app)
                if self._store != "memory":
                    self._undo.callback(_emptied, real[where])
            self._stand_in(app, real[where])
            others = [it for it in self.apps if it is not app and _place(it) == where]
            self._crews[id(app)].neighbours = others
        self._undo.callback(self.effects.close)
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._undo.close()  # what fails of it lets the rest be undone all the same

    def _stand_in(self, app: Procession, real: Database) -> None:
        """Between an app and its store, until it is undone."""
        crew, layers, held = self._crews[id(app)], app.registry.policies.middleware, vars(app)
        aside = {name: held.pop(name) for name in HELD if name in held}
        watching = Watching(self, app, crew, self.effects, self._log)
        self._seams[id(app)] = held["database"] = Seam(real, watching, durable=self._store != "memory")
        layers.insert(0, crew.around)
        app.registry.policies_changed()

        def leave() -> None:
            app.close()
            for name in HELD:
                held.pop(name, None)
            held.update(aside)
            layers.remove(crew.around)
            app.registry.policies_changed()
            crew.close()

        self._undo.callback(leave)

    def _database(self, app: Procession) -> Database:
        policy = app.settings.policy()
        if self._store == "memory":
            return MemoryDatabase(Store(policy), "memory://test-kit", app.settings.namespace, self.clock)
        return databases.open(self._store, namespace=f"test-{uuid4().hex}", policy=policy, now=self.clock)

    @property
    def now(self) -> datetime:
        """What the store's clock shows. The machine's own clock is another one, and goes on."""
        return datetime.fromtimestamp(self._now / 1_000, UTC)

    # What was enqueued

    def enqueued(self, job: Any = None, *args: Any, **kwargs: Any) -> list[Enqueued]:
        """What was enqueued in this test so far, in order, whatever became of it.

        Args:
            job: a job function, a worker class, what `using()` returns, or a bound call; None for everything.
            args, kwargs: arguments that it must have; those that are not given may be anything. Options are given by
                `using()`, as where jobs are enqueued: `enqueued(remind.using(delay="1d"), 7)`.

        Raises:
            BadArguments: the job has no such parameter.
        """
        if job is None:
            return self._log.copy()
        asked = wanted(self.apps, job, args, kwargs)
        return [it for it in self._log if is_of(asked, it) and not differences(asked, it)]

    def assert_enqueued(self, job: Any, *args: Any, **kwargs: Any) -> Enqueued:
        """The first job enqueued like this. Arguments as for `enqueued`. Raises AssertionError, which says what was."""
        __tracebackhide__ = True
        found = self.enqueued(job, *args, **kwargs)
        if not found:
            raise AssertionError(missing(wanted(self.apps, job, args, kwargs), self._log))
        return found[0]

    def refute_enqueued(self, job: Any, *args: Any, **kwargs: Any) -> None:
        """Raise AssertionError if a job was enqueued like this. Arguments as for `enqueued`."""
        __tracebackhide__ = True
        found = self.enqueued(job, *args, **kwargs)
        if found:
            raise AssertionError(unwelcome(wanted(self.apps, job, args, kwargs), found))

    # Running

    def run(self, *, until_done: bool = False, raising: bool = True) -> list[Attempt]:
        """Perform everything that is ready, and what that enqueues in turn; returns the attempts in order.

        The clock stands still, so what is delayed, a retry for example, stays so. With `until_done` the clock moves on
        to whatever is due next until no job waits any more; schedules are not looked at then, since they never end.

        With `raising`, the job's own exception is raised in the end, if no later attempt made it good. Snooze,
        RetryLater and Discard are words and not errors.

        Raises:
            ConfigError: called on a running event loop, where `await run_async()` is the word.
            TimeoutError: the jobs took longer than `patience`, or came back ten thousand times.
        """
        return self._sync(self.run_async(until_done=until_done, raising=raising))

    async def run_async(self, *, until_done: bool = False, raising: bool = True) -> list[Attempt]:
        """See `run`."""
        return await self._performed(self._until_done() if until_done else self._drain(), raising)

    def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        to: datetime | None = None,
        raising: bool = True,
    ) -> list[Attempt]:
        """Let time pass, and perform what becomes due meanwhile, each at its moment and in order: delayed jobs,
        retries, schedules, what a job enqueues in turn. Expiries and deadlines count. See `run` for errors.

        Args:
            to: a moment instead of a span.
        """
        return self._sync(
            self.advance_async(days=days, hours=hours, minutes=minutes, seconds=seconds, to=to, raising=raising)
        )

    async def advance_async(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        to: datetime | None = None,
        raising: bool = True,
    ) -> list[Attempt]:
        """See `advance`."""
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        target = self._now + round(span.total_seconds() * 1_000) if to is None else instant(to, "to")
        if target < self._now:
            raise ConfigError(f"the clock shows {self.now.isoformat()} already; time only goes on")
        return await self._performed(self._pass(target), raising)

    @contextmanager
    def inline(self) -> Iterator[None]:
        """Within this, what the test enqueues is performed before the enqueue returns, with all that follows from it:
        through the codec, middleware and store as ever. The job's error is raised where it was enqueued."""
        before, self._inline = self._inline, True
        try:
            yield
        finally:
            self._inline = before

    # Drills

    def deliver_twice(self, job: Any) -> Report:
        """Run a job to its end, lose the outcome, and run it again, as a queue must when a worker dies too late.

        Args:
            job: a bound call, which is enqueued for it; the handle or jid of a job; or a job function or worker class
                of which one job waits.

        Raises:
            ConfigError: no job is meant, or it is not ready.
            Exception: the job's own error, in its last run.
        """
        return self._sync(self.deliver_twice_async(job))

    async def deliver_twice_async(self, job: Any) -> Report:
        """See `deliver_twice`."""
        return await self._drilled(job, lambda it: it.crash("end", "delivered twice"))

    def crash(self, job: Any, at: At = "end") -> Report:
        """Kill the worker while it runs a job, and let another run it again.

        Args:
            job: see `deliver_twice`.
            at: "start" (the job is claimed, its function not called), "end" (it has returned, nobody knows yet), or a
                number: right after that effect. Effects are enqueues and what `effects` was told of.
        """
        return self._sync(self.crash_async(job, at))

    async def crash_async(self, job: Any, at: At = "end") -> Report:
        """See `crash`."""
        where = f"after effect {at}" if isinstance(at, int) else f"at its {at}"
        return await self._drilled(job, lambda it: it.crash(at, f"killed {where}"))

    def lose_lease(self, job: Any, at: At = "start") -> Report:
        """Hold a worker up while it runs a job, as a suspended machine is; another takes the job and runs it to its
        end; then the first goes on, and its outcome is refused. `job` and `at` (where it is held up) as for `crash`."""
        return self._sync(self.lose_lease_async(job, at))

    async def lose_lease_async(self, job: Any, at: At = "start") -> Report:
        """See `lose_lease`."""
        return await self._drilled(job, lambda it: it.lose_lease(at))

    # Within

    def _sync(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            raise ConfigError("an event loop runs here: use the verb's twin, such as `await procession.run_async()`")
        if not self._open:
            work.close()
            raise ConfigError(CLOSED)
        if self._runner is None:
            self._runner = asyncio.Runner()
            self._undo.callback(self._end_loop, self._runner)
        return self._runner.run(work, context=contextvars.copy_context())

    def _end_loop(self, runner: asyncio.Runner) -> None:
        for app in self.apps:
            runner.run(app.close_async())
        runner.close()

    async def _performed(self, work: Coroutine[Any, Any, None], raising: bool) -> list[Attempt]:
        first = len(self._attempts)
        await self._worked(work)
        attempts = self._attempts[first:]
        if raising:
            raise_errors(attempts)
        return attempts

    async def _worked(self, work: Coroutine[Any, Any, T]) -> T:
        """What some work with jobs comes to. One at a time, or nobody would know whose attempts are whose."""
        if not self._open or self._working:
            work.close()
            raise ConfigError("the test kit runs jobs already, and a job cannot ask for that" if self._open else CLOSED)
        self._working = True
        running, first = list[str](), len(self._attempts)
        try:
            async with asyncio.timeout(self._patience) as self._limit:
                try:
                    return await work
                finally:
                    running = [name for crew in self._crews.values() for name in crew.now_running()]
                    running += [f"{it.name} ({it.jid})" for it in self._attempts[first:] if it.reason == "interrupted"]
        except TimeoutError as error:
            if not self._limit.expired():
                raise
            raise TimeoutError(
                f"jobs have taken {self._patience:g} s of real time; the test's clock does not move while one runs:"
                f" {', '.join(running) or 'none runs now'}"
            ) from error
        finally:
            self._working = False
            for crew in self._crews.values():
                crew.gone()

    async def _drain(self) -> None:
        """Perform what is ready, for one app after another, until nothing is."""
        for _ in range(ROUNDS):
            self._limit.reschedule(asyncio.get_running_loop().time() + self._patience)
            before = len(self._attempts)
            for crew in self._crews.values():
                await crew.work()
            if len(self._attempts) == before:
                return
        raise TimeoutError(f"jobs are ready again and again: after {ROUNDS:,} rounds there was still one")

    async def _until_done(self) -> None:
        for _ in range(ROUNDS):
            await self._drain()
            due = [at for crew in self._crews.values() if (at := await crew.next_due())]
            if not due:
                return
            self._now = max(self._now, min(due))
        raise TimeoutError(f"jobs come back for ever: after {ROUNDS:,} steps of the clock one still waits")

    async def _pass(self, target: int) -> None:
        for _ in range(ROUNDS):
            fires = [await crew.fire() for crew in self._crews.values()]
            await self._drain()
            due = [await crew.next_due() for crew in self._crews.values()]
            coming = [at for at in (*fires, *due) if 0 < at <= target]
            if not coming and self._now >= target:
                return
            self._now = max(self._now + (1 if self._now in coming else 0), min([*coming, target]))
        raise TimeoutError(f"more than {ROUNDS:,} moments are due until then; advance in shorter steps")

    async def _drilled(self, job: Any, how: Callable[[Drill], Coroutine[Any, Any, Report]]) -> Report:
        async def drilled() -> Report:
            app, found = await self._target(job)
            return await how(Drill(self._crews[id(app)], self._seams[id(app)], found, patience=self._patience))

        return await self._worked(drilled())

    async def _target(self, job: Any) -> tuple[Procession, Job]:
        """The job that a drill is about, ready to run. Raises ConfigError, JobNotFound."""
        if isinstance(job, Call):
            app = next((it for it in self.apps if it.registry.get(job.registered.name) is not None), self.apps[0])
            jid = (await app.enqueue_async(job)).jid
        elif isinstance(job, JobHandle | UUID | str):
            jid = job.jid if isinstance(job, JobHandle) else parse_jid(job)
        else:
            asked = wanted(self.apps, job, (), {})
            waiting = [it.jid for it in self._log if is_of(asked, it) and await self._waits(it.jid)]
            if len(waiting) != 1:
                raise ConfigError(
                    f"{len(waiting)} jobs of {asked.registered.name} wait; name one by its handle, or bind a call:"
                    f" {asked.registered.name.rpartition('.')[2]}.bind(…)"
                )
            jid = waiting[0]
        for app in self.apps:
            await app.ask_async(app.database.promote(ROUNDS))
            found = await app.find_job_async(jid)
            if found is not None and app.registry.get(found.name) is not None:
                if found.state is not State.QUEUED:
                    raise ConfigError(f"job {jid} is {found.state}; a drill needs one that is ready to run")
                return app, found
        raise JobNotFound(f"no job {jid} in the test's store", jid=jid)

    async def _waits(self, jid: UUID) -> bool:
        jobs = [await app.find_job_async(jid) for app in self.apps]
        return any(job is not None and job.state in (State.QUEUED, State.DELAYED) for job in jobs)

    # What is asked by the one who watches the seam

    def clock(self) -> int:
        """See `Performing.clock`."""
        return self._now

    def working(self) -> bool:
        """See `Performing.working`."""
        return self._working

    def inline_now(self) -> bool:
        """See `Performing.inline_now`."""
        return self._inline and self._open and not self._working and CURRENT.get() is None


def _place(app: Procession) -> tuple[str, str]:
    return app.settings.url, app.settings.namespace


def _emptied(database: Database) -> None:
    """Remove what a test left on a real server."""
    connection = database.connect()
    connection.ask(database.flush())
    connection.close()
