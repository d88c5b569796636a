"""The two ways to write a job, as equals: a function made a job by `@app.job`, and a class with `perform`.

Both answer to the same words (`enqueue`, `enqueue_async`, `bind`, `using`), typed from the user's own signature. The
class form gets its types from a descriptor whose owner is a protocol with a generic `perform`; `tests/typing` pins
that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from procession.enqueuer import Call, Options, check_options
from procession.errors import ConfigError
from procession.handle import JobHandle
from procession.registry import Registered

if TYPE_CHECKING:
    from procession.client import Procession

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")
R_co = TypeVar("R_co", covariant=True)


class Caller(Generic[P, R]):
    """Something that can be enqueued, with options: what `using()` returns."""

    def __init__(self, app: Procession, registered: Registered, options: Options) -> None:
        self.app = app
        self.registered = registered
        self.options = options

    def using(self, **options: Unpack[Options]) -> Caller[P, R]:
        """The same job with options for the enqueues that follow; the arguments stay apart and typed.

        Args:
            delay: run after this time (seconds, timedelta, or text such as "5m").
            at: run at this moment (a datetime with a time zone).
            priority: -100 to 100, a higher one goes first.
            queue, timeout, attempts, tags: in place of what the definition says; timeout=0 lifts it.
            jid: the job's id, a UUID: enqueued twice, it is one job.
            expires: cancelled when not started by then (a duration, or a datetime with a time zone).
            deadline: failed when not done by then, all attempts together (a duration).
            unique: a key as it stands, True for all arguments, or a tuple of their names; until, unique_for, conflict,
                debounce, at_most, throttle: how long it holds and what a second one does (docs/unique.md).
            headers: up to 16 texts by name beside the arguments, for middleware: `current_job().headers`; not sealed.
            limit: a `Limit` in place of the job's, False for none (docs/limits.md).
            durability: what the enqueue waits for: "memory", "fsync", "replica"; refused where it cannot be kept.
        """
        return Caller(self.app, self.registered, check_options({**self.options, **options}))

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """This call as a value, checked and encoded now, to be enqueued later or together with others."""
        return Call(self.registered, self.registered.signature.encode(args, kwargs), self.options)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Store one job. Raises EnqueueError (with `stored`), or ConfigError for an option."""
        return self.app.enqueue_bound(self.bind(*args, **kwargs))

    async def enqueue_async(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """See `enqueue`."""
        return await self.app.enqueue_bound_async(self.bind(*args, **kwargs))


class JobFunction(Caller[P, R], Generic[P, R, C]):
    """A function that is a job: called, it runs here and now; enqueued, a queue worker performs it."""

    def __init__(self, app: Procession, registered: Registered) -> None:
        super().__init__(app, registered, Options())
        update_wrapper(self, registered.source)

    @property
    def name(self) -> str:
        """The stable name under which it is stored."""
        return self.registered.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run the function itself; nothing is enqueued."""
        result: C = self.registered.source(*args, **kwargs)
        return result

    def __repr__(self) -> str:
        return f"<job {self.registered.name}>"


class SyncPerform(Protocol[P, R_co]):
    """The shape of a worker class whose `perform` is a `def`."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class AsyncPerform(Protocol[P, R_co]):
    """The shape of a worker class whose `perform` is an `async def`."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


def _caller(owner: type) -> Caller[Any, Any]:
    apps: list[Procession] = owner.__dict__.get("__procession_apps__", [])
    if not apps:
        raise ConfigError(
            f"{owner.__qualname__} belongs to no app yet: decorate it with @app.worker, or app.include it"
        )
    if len(apps) > 1:
        raise ConfigError(
            f"{owner.__qualname__} belongs to {len(apps)} apps; say which: app.caller({owner.__name__}).enqueue(…)"
        )
    return apps[0].caller(owner)


class _Enqueue:
    @overload
    def __get__(self, instance: object, owner: type[AsyncPerform[P, R]]) -> Callable[P, JobHandle[R]]: ...
    @overload
    def __get__(self, instance: object, owner: type[SyncPerform[P, R]]) -> Callable[P, JobHandle[R]]: ...
    def __get__(self, instance: object, owner: Any) -> Any:
        return _caller(owner).enqueue


class _EnqueueAsync:
    @overload
    def __get__(
        self, instance: object, owner: type[AsyncPerform[P, R]]
    ) -> Callable[P, Coroutine[Any, Any, JobHandle[R]]]: ...
    @overload
    def __get__(
        self, instance: object, owner: type[SyncPerform[P, R]]
    ) -> Callable[P, Coroutine[Any, Any, JobHandle[R]]]: ...
    def __get__(self, instance: object, owner: Any) -> Any:
        return _caller(owner).enqueue_async


class _Bind:
    @overload
    def __get__(self, instance: object, owner: type[AsyncPerform[P, R]]) -> Callable[P, Call[R]]: ...
    @overload
    def __get__(self, instance: object, owner: type[SyncPerform[P, R]]) -> Callable[P, Call[R]]: ...
    def __get__(self, instance: object, owner: Any) -> Any:
        return _caller(owner).bind


class UsingOf(Protocol[P, R]):
    """The type of `using` on a worker class."""

    def __call__(self, **options: Unpack[Options]) -> Caller[P, R]: ...


class _Using:
    @overload
    def __get__(self, instance: object, owner: type[AsyncPerform[P, R]]) -> UsingOf[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type[SyncPerform[P, R]]) -> UsingOf[P, R]: ...
    def __get__(self, instance: object, owner: Any) -> Any:
        return _caller(owner).using


class Worker:
    """A job as a class: subclass it and write `perform`, as `def` or `async def`.

    Each attempt makes a fresh instance, so nothing is shared between jobs. `Resize.enqueue(…)` takes what
    `perform` takes. Two methods may stand beside it, each called on an instance of its own: `backoff(self, attempt,
    error)` answers how long to wait before the next run (a duration; None leaves it to the policy), and
    `exhausted(self, failure)` hears that a run has ended the job in `failed`. See docs/retries.md.
    """

    enqueue = _Enqueue()
    """Store one job; see `Caller.enqueue`."""
    enqueue_async = _EnqueueAsync()
    bind = _Bind()
    using = _Using()
