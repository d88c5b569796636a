"""`Procession`, the object that an application holds: define jobs, enqueue them, look at single ones, connect.

Every verb stands beside its `_async` twin; what thinks is pure (`enqueuer.py`, `dequeuer.py`, the database's verbs),
so a twin is one line that asks. Nothing connects before the first question. Connections belong to a process and, for
async callers, to an event loop (`connections.py`). The verbs about queues and the whole are in `steering.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from inspect import iscoroutinefunction
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload
from uuid import UUID

from procession.asker import check_limit
from procession.clock import milliseconds
from procession.commanding import Commanding
from procession.config import Settings
from procession.connections import Connections
from procession.database import (
    AsyncConnection,
    Connection,
    Durability,
    Operation,
    Page,
    Query,
)
from procession.dequeuer import Dequeuer
from procession.enqueuer import (
    Call,
    Enqueuer,
    Options,
    bound,
    checked,
    durability_of,
    joined,
    new_job,
    refusals,
    sent_to,
    spread_over,
    trips,
)
from procession.errors import ConfigError, DatabaseError
from procession.extending import Extending
from procession.handle import JobHandle
from procession.inquiry import Inquiry
from procession.insight import Insight
from procession.job import Job, NewJob, State, Stored, new_jid, parse_jid
from procession.journal import Journal
from procession.middleware import Enqueuing
from procession.names import check_queue, check_text, is_reserved_queue
from procession.registry import JobOptions, Registry
from procession.retry import Retry
from procession.revising import revised
from procession.scheduling import Scheduling
from procession.sealing import Codec, J, Sealing, opened
from procession.steering import Steering
from procession.worker import AsyncPerform, Caller, JobFunction, SyncPerform, Worker

if TYPE_CHECKING:
    from procession.waiter import Waiter

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
W = TypeVar("W", bound=type)
Jid = str | UUID
Span = float | str | timedelta

class Procession(Commanding, Extending, Inquiry, Insight, Journal, Scheduling, Steering):
    """Jobs of one application in one namespace of one store.

    Args:
        url: where the store is; None leaves it to `PROCESSION_URL`, `[tool.procession]`, and then the embedded Valkey.
        namespace: prefix of every key; applications that share a store take different ones.
        credentials: called before each connection to a Redis or Valkey server, on a thread of its own, for a username
            (or "") and a password: for tokens that change. Without it the URL says who we are, or `username` and
            `password`.
        retry: the policy of jobs whose definition and whose queue name none; by default 5 runs, exponential backoff.
        codec: what the store's copy of arguments, results and errors goes through, such as [Zlib(), Encrypted(keys)].
        settings: any other field of `Settings` by name.

    Raises:
        ConfigError: a setting cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        credentials: Callable[[], tuple[str, str]] | None = None,
        retry: Retry | bool | int | None = None,
        codec: Sequence[Codec] = (),
        **settings: Any,
    ) -> None:
        self.settings = Settings.load(url=url, namespace=namespace, **settings)
        self.registry = Registry()
        self.registry.policies.retry = Retry.of(retry)
        self.registry.policies.sealing = Sealing(codec) if codec else None
        if credentials is not None and (iscoroutinefunction(credentials) or not callable(credentials)):
            raise ConfigError("credentials= must be a plain function: it is called on a thread, and nobody awaits it")
        self._credentials = credentials

    def __repr__(self) -> str:
        return f"<Procession {self.settings.namespace!r} at {self.settings.shown_url}>"

    # Defining jobs

    @overload
    def job(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> JobFunction[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> JobFunction[P, R, R]: ...
    @overload
    def job(self, /, **options: Unpack[JobOptions]) -> _Decorator: ...
    def job(self, function: Any = None, /, **options: Unpack[JobOptions]) -> Any:
        """Make a function a job. It stays callable; `.enqueue` has its parameters.

        Args:
            name, aliases: the stable name under which it is stored (default `module.qualname`), and former names.
            queue, priority, tags: where it waits ("default"), how urgent it is (0; -100 to 100), up to 16 labels.
            retry: a `Retry`, a number of runs, False; by default that of the queue, then of the app.
            on_exhausted: called with the `Failure` when a run ends the job in `failed`, where the job ran.
            unique, until, unique_for, conflict, debounce, at_most, throttle: see docs/unique.md.
            limit: a `Limit`: how many of them, or of those with the same arguments, are under way at a time.
            timeout: per attempt, one hour by default; None or 0 lifts it. expires: cancelled if not started by then.
            deadline: for all attempts together, counted from the enqueue; after it the job is failed. None by default.
            executor: "process" for a job process of its own, with hard_timeout= and max_memory="512MB": it is killed.

        Raises:
            ConfigError: an option cannot be kept.
        """
        if function is None:
            return _Decorator(self, options)
        registered = self.registry.define(function, **options)
        return JobFunction(self, registered)

    @overload
    def worker(self, worker_class: W, /, **options: Unpack[JobOptions]) -> W: ...
    @overload
    def worker(self, /, **options: Unpack[JobOptions]) -> Callable[[W], W]: ...
    def worker(self, worker_class: Any = None, /, **options: Unpack[JobOptions]) -> Any:
        """Make a class with `perform` a job; takes what `job` takes."""
        if worker_class is None:
            return lambda decorated: self.worker(decorated, **options)
        self.registry.define(worker_class, **options)
        apps = worker_class.__dict__.get("__procession_apps__")
        if apps is None:
            worker_class.__procession_apps__ = apps = []
        if self not in apps:
            apps.append(self)
        return worker_class

    def include(self, source: type | ModuleType, **options: Unpack[JobOptions]) -> None:
        """Take in a worker class, or every worker class that a module defines."""
        if not isinstance(source, ModuleType):
            self.worker(source, **options)
            return
        found = [
            it for it in vars(source).values()
            if isinstance(it, type) and issubclass(it, Worker) and it.__module__ == source.__name__
        ]  # fmt: skip
        if not found:
            raise ConfigError(f"module {source.__name__} defines no worker class")
        for worker_class in found:
            self.worker(worker_class, **options)

    def caller(self, source: Any) -> Caller[Any, Any]:
        """The enqueuing side of a job function or worker class of this app. Raises ConfigError for a stranger."""
        if isinstance(source, Caller) and source.app is self:
            return source
        registered = self.registry.of(source)
        if registered is None:
            name = getattr(source, "__qualname__", repr(source))
            raise ConfigError(f"{name} is no job of this app: decorate it with @app.job or @app.worker, or include it")
        return Caller(self, registered, Options())

    # Enqueuing

    @overload
    def enqueue(self, call: Call[R], /) -> JobHandle[R]: ...
    @overload
    def enqueue(self, queue: str, call: Call[R], /) -> JobHandle[R]: ...
    @overload
    def enqueue(self, queue: str, job: Caller[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @overload
    def enqueue(
        self, queue: str, job: type[AsyncPerform[P, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    def enqueue(
        self, queue: str, job: type[SyncPerform[P, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    def enqueue(self, *words: Any, **kwargs: Any) -> Any:  # type: ignore[misc]  # mypy on ParamSpec after positionals
        """Store one job: a bound call, or the brief's forms: queue, worker, params …; queue, job.

        Raises:
            EnqueueError: `stored` says "no" or "unknown"; with the same jid it may be repeated.
            ReservedQueue, ConfigError: the queue or an option cannot be used.
        """
        return self.enqueue_bound(*self._understood(words, kwargs))

    @overload
    async def enqueue_async(self, call: Call[R], /) -> JobHandle[R]: ...
    @overload
    async def enqueue_async(self, queue: str, call: Call[R], /) -> JobHandle[R]: ...
    @overload
    async def enqueue_async(
        self, queue: str, job: Caller[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    async def enqueue_async(
        self, queue: str, job: type[AsyncPerform[P, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    async def enqueue_async(
        self, queue: str, job: type[SyncPerform[P, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    async def enqueue_async(self, *words: Any, **kwargs: Any) -> Any:  # type: ignore[misc]  # as above
        """See `enqueue`."""
        return await self.enqueue_bound_async(*self._understood(words, kwargs))

    def enqueue_bound(self, call: Call[R], queue: str | None = None) -> JobHandle[R]:
        """`enqueue`, for who has a call already; called by the library."""
        if self.registry.policies.around_enqueues:
            return self.enqueue_many([sent_to(call, queue)])[0]
        job, durability = new_job(call, new_jid(), queue), durability_of(call, self.settings.durability)
        try:
            answer = self.connection().ask(self.database.enqueue([job]), durability=durability)
        except DatabaseError as error:
            raise self._enqueuer.failed(error, [job]) from error
        return self._handle(call, checked(job, answer[0]))

    async def enqueue_bound_async(self, call: Call[R], queue: str | None = None) -> JobHandle[R]:
        """See `enqueue_bound`."""
        if self.registry.policies.around_enqueues:
            return (await self.enqueue_many_async([sent_to(call, queue)]))[0]
        job, durability = new_job(call, new_jid(), queue), durability_of(call, self.settings.durability)
        try:
            answer = await self.connection_async().ask(self.database.enqueue([job]), durability=durability)
        except DatabaseError as error:
            raise self._enqueuer.failed(error, [job]) from error
        return self._handle(call, checked(job, answer[0]))

    def enqueue_many(self, calls: Iterable[Call[R]], *, spread: Span | None = None) -> list[JobHandle[R]]:
        """Store many jobs, in order, in one round trip (of at most 10,000 jobs; beyond that, in as many as needed,
        and in one more wherever the durability changes).

        Args:
            spread: do not run them at once: each is due in its own part of this time span, at a moment drawn by chance.

        Raises:
            ConfigError: one of them is no bound call.
            EnqueueError: `jids` are those of the trip that failed; earlier trips are stored.
            DuplicateJob: for the first that was to raise it; all others are stored.
        """
        spread_out = bound(calls) if spread is None else spread_over(bound(calls), spread)
        with Enqueuing(self.registry.policies.around_enqueues, spread_out) as around:
            asked, stored = [*trips(around.calls, self.settings.durability)], list[Stored]()
            for durability, jobs in asked:
                stored += self._store(jobs, durability)
            return around.stored(self._handles(around.calls, stored), refusals(asked, stored))

    async def enqueue_many_async(self, calls: Iterable[Call[R]], *, spread: Span | None = None) -> list[JobHandle[R]]:
        """See `enqueue_many`."""
        spread_out = bound(calls) if spread is None else spread_over(bound(calls), spread)
        with Enqueuing(self.registry.policies.around_enqueues, spread_out) as around:
            asked, stored = [*trips(around.calls, self.settings.durability)], list[Stored]()
            for durability, jobs in asked:
                stored += await self._store_async(jobs, durability)
            return around.stored(self._handles(around.calls, stored), refusals(asked, stored))

    # Single jobs

    def find_job(self, jid: Jid) -> Job | None:
        """The job as it is stored now, None when it is not there. O(1)."""
        return self.opened(self.ask(self._dequeuer.find_job(jid))[0])

    async def find_job_async(self, jid: Jid) -> Job | None:
        """See `find_job`."""
        return self.opened((await self.ask_async(self._dequeuer.find_job(jid)))[0])

    def handle(self, jid: Jid) -> JobHandle[Any]:
        """A handle for a job enqueued elsewhere; its result is decoded as plain JSON."""
        return JobHandle(self, parse_jid(jid))

    def remove(self, jid: Jid) -> bool:
        """Forget a job that is not running. False when it runs, or is not there."""
        return _was(self.ask(self._dequeuer.remove(jid)), but={State.RUNNING})

    async def remove_async(self, jid: Jid) -> bool:
        """See `remove`."""
        return _was(await self.ask_async(self._dequeuer.remove(jid)), but={State.RUNNING})

    def cancel(self, jid: Jid, reason: str = "cancelled") -> bool:
        """Cancel a job, whatever its state; a running one is told to stop. False when it was finished, or is not
        there."""
        return _was(self.ask(self._cancel(jid, reason)), but=_FINAL)

    async def cancel_async(self, jid: Jid, reason: str = "cancelled") -> bool:
        """See `cancel`."""
        return _was(await self.ask_async(self._cancel(jid, reason)), but=_FINAL)

    def retry(self, jid: Jid, *, args: Mapping[str, Any] | None = None, finish_at: int | None = None) -> bool:
        """Queue a finished job again, attempts counted anew. False when it is not finished, is not there, or another
        job holds its unique key by now.

        Args:
            args: all arguments by parameter name, in place of those it had; checked where this app knows the job.
            finish_at: with `args`, the job's as you saw it: one that was finished anew since stays as it is.

        Raises:
            BadArguments, NotEncodable, TooLarge: the arguments cannot be used.
            Sealed: the old arguments cannot be opened here.
            ConfigError: its unique key follows from its arguments, and this app does not know the job.
        """
        if args is not None:
            return self.walk(revised(self.database, self.registry, parse_jid(jid), args, finish_at))
        return _was(self.ask(self.database.retry([parse_jid(jid)])), but=_NOT_FINAL)

    async def retry_async(
        self, jid: Jid, *, args: Mapping[str, Any] | None = None, finish_at: int | None = None
    ) -> bool:
        """See `retry`."""
        if args is not None:
            return await self.walk_async(revised(self.database, self.registry, parse_jid(jid), args, finish_at))
        return _was(await self.ask_async(self.database.retry([parse_jid(jid)])), but=_NOT_FINAL)

    def jobs(
        self,
        state: State | str,
        *,
        queue: str | None = None,
        name: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """One page of jobs of one state; `cursor` of the page asks for the next."""
        return self.ask(self._listed(state, queue, name, cursor, limit))

    async def jobs_async(
        self,
        state: State | str,
        *,
        queue: str | None = None,
        name: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """See `jobs`."""
        return await self.ask_async(self._listed(state, queue, name, cursor, limit))

    # Names and connections

    @staticmethod
    def is_reserved_queue(name: str) -> bool:
        """True for the names of final states, to which nothing can be enqueued."""
        return is_reserved_queue(name)

    def connection(self) -> Connection:
        """The connection of this process for sync callers."""
        return self._connections.sync()

    def connection_async(self) -> AsyncConnection:
        """The connection of the running event loop."""
        return self._connections.of_loop()

    def waiter(self) -> Waiter:
        """What waits for jobs on behalf of the running event loop."""
        return self._connections.waiter()

    def ask(self, operation: Operation[T]) -> T:
        """Ask the store one question."""
        return self.connection().ask(operation)

    async def ask_async(self, operation: Operation[T]) -> T:
        """See `ask`."""
        return await self.connection_async().ask(operation)

    def close(self) -> None:
        """Give back the sync connection; the next question opens a new one."""
        self._connections.close()

    async def close_async(self) -> None:
        """Give back what the running event loop holds; who waits for a job there meets Unavailable."""
        await self._connections.close_async()

    # Within

    @cached_property
    def _connections(self) -> Connections:
        return Connections(self.database, milliseconds(self.settings.budget, "budget") / 1_000)

    @cached_property
    def _enqueuer(self) -> Enqueuer:
        return Enqueuer(self.database)

    @cached_property
    def _dequeuer(self) -> Dequeuer:
        return Dequeuer(self.database)

    def _understood(self, words: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call[Any], str | None]:
        match words:
            case (Call() as call,) if not kwargs:
                return call, None
            case (str() as queue, Call() as call) if not kwargs:
                return call, check_queue(queue)
            case (str() as queue, job, *args) if not isinstance(job, Call):
                return self.caller(job).bind(*args, **kwargs), check_queue(queue)
        raise ConfigError(
            "enqueue takes a bound call, or a queue and a bound call, or a queue, a job and its arguments"
        )

    def _store(self, jobs: Sequence[NewJob], durability: Durability) -> list[Stored]:
        try:
            return joined(self.connection().ask(*self._enqueuer.enqueue(jobs), durability=durability))
        except DatabaseError as error:
            raise self._enqueuer.failed(error, jobs) from error

    async def _store_async(self, jobs: Sequence[NewJob], durability: Durability) -> list[Stored]:
        try:
            return joined(await self.connection_async().ask(*self._enqueuer.enqueue(jobs), durability=durability))
        except DatabaseError as error:
            raise self._enqueuer.failed(error, jobs) from error

    def _handle(self, call: Call[R], stored: Stored) -> JobHandle[R]:
        return JobHandle(self, stored.jid, call.registered, not stored.new)

    def _handles(self, calls: Sequence[Call[R]], stored: Sequence[Stored]) -> list[JobHandle[R]]:
        return [*map(self._handle, calls, stored)]

    def _cancel(self, jid: Jid, reason: str) -> Operation[list[State | None]]:
        return self.database.cancel([parse_jid(jid)], check_text(reason, "reason"))

    def opened(self, job: J) -> J:
        """A record in plain, as far as the codec chain here opens it; without a chain, the record."""
        return opened(job, self.registry.policies.sealing)

    def _listed(
        self, state: State | str, queue: str | None, name: str | None, cursor: str | None, limit: int
    ) -> Operation[Page]:
        try:
            wanted = State(state)
        except ValueError:
            raise ConfigError(f"state {state!r} must be one of {', '.join(State)}") from None
        asked = Query(state=wanted, queue=queue, name=name)
        return self.database.page(asked, cursor=cursor, limit=check_limit(limit, 1_000))


class _Decorator:
    """What `@app.job(queue=…)` returns: its call keeps the types of the function, coroutine or not."""

    def __init__(self, app: Procession, options: JobOptions) -> None:
        self._app = app
        self._options = options

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> JobFunction[P, R, R]: ...
    def __call__(self, function: Any, /) -> Any:
        registered = self._app.registry.define(function, **self._options)
        return JobFunction(self._app, registered)


_FINAL = frozenset(state for state in State if state.final)
_NOT_FINAL = frozenset(State) - _FINAL


def _was(states: list[State | None], *, but: frozenset[State] | set[State]) -> bool:
    return states[0] is not None and states[0] not in but
