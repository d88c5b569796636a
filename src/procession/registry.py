"""Which code performs which name. A registry belongs to one app; nothing here is global."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, Unpack, get_args

from msgspec import Raw, Struct
from msgspec.structs import replace

from procession.clock import lasting, milliseconds
from procession.codec import Signature, encode_spec
from procession.context import current_job
from procession.depends import Needs, injecting, needed
from procession.errors import ConfigError
from procession.job import PRIORITIES, Failure, Spec, SpecOptions
from procession.limits import Limit, Limited, limited
from procession.middleware import around_runs
from procession.names import check_aliases, check_queue, check_tags, job_name
from procession.policies import Policies
from procession.retry import Retry
from procession.sealing import Sealing
from procession.sizes import size
from procession.unique import NOT_UNIQUE, Uniqueness, UniqueOptions, uniqueness

HOUR = 3600 * 1000
LEAST_MEMORY = 64 * 1024**2
"""Smallest `max_memory`, in bytes: an interpreter with this library and a small app takes about half of it."""

How = Literal["loop", "thread", "process"]


class JobOptions(UniqueOptions, total=False):
    """What `@app.job` and `@app.worker` take: everything about a job that is told where it is defined."""

    name: str | None
    aliases: Sequence[str]
    queue: str
    priority: int
    retry: Retry | bool | int | None
    on_exhausted: Callable[[Failure], Any] | None
    timeout: float | str | timedelta | None
    hard_timeout: float | str | timedelta | None
    max_memory: int | str | None
    expires: float | str | timedelta | None
    deadline: float | str | timedelta | None
    limit: Limit | None
    tags: Sequence[str]
    executor: How | None


class Registered(Struct, frozen=True, kw_only=True):
    """One job function or worker class with the options given where it is defined."""

    name: str
    source: Any
    call: Callable[..., Any]
    """What an attempt calls: the function, or a maker of an instance that calls its `perform`."""
    signature: Signature
    executor: How
    inside: Literal["loop", "thread"]
    """Where it runs within one process: `async def` on the loop, `def` in a thread."""
    aliases: tuple[str, ...] = ()
    queue: str = "default"
    priority: int = 0
    retry: Retry | None = None
    """Its own policy; None leaves it to the queue and the app."""
    backoff: Callable[[int, BaseException], Any] | None = None
    """The worker class's own word on how long to wait: attempt, error → a duration, or None for the policy's."""
    needs: Needs = Needs()
    """Parameters that each run fills, not the caller."""
    sealing: Sealing | None = None
    """The app's codec chain, if it has one."""
    exhausted: Callable[[Failure], Any] | None = None
    """What is called when a run ends the job in `failed`."""
    timeout: int | None = HOUR
    """Milliseconds per attempt, None when lifted."""
    hard_timeout: int | None = None
    """Milliseconds after which its job process is killed; None leaves that to the timeout, and its grace."""
    max_memory: int = 0
    """Bytes that its job process may take while it runs; 0 means unbounded."""
    expires: int = 0
    """Milliseconds after which a job that was not started is cancelled; 0 means never."""
    deadline: int = 0
    """Milliseconds from its enqueue after which no attempt begins or goes on; 0 means never."""
    unique: Uniqueness = NOT_UNIQUE
    limit: Limited | None = None
    """How many of its jobs may be under way at a time."""
    tags: tuple[str, ...] = ()
    spec: tuple[bytes, bytes] | None = None
    """The stored spec of a call without options: what stands before its arguments, and what behind them. None where
    more than that has to be known of each call: a unique key, a deadline, a limit."""


def check_priority(priority: object) -> int:
    """A priority that may be used. Raises ConfigError: never clamped."""
    if not isinstance(priority, int) or isinstance(priority, bool) or priority not in PRIORITIES:
        raise ConfigError(
            f"priority={priority!r} must be a whole number, {PRIORITIES[0]} to {PRIORITIES[-1]}; the higher goes first"
        )
    return priority


def register(source: Any, **options: Unpack[JobOptions]) -> Registered:
    """Check a job function or worker class and its options. Raises ConfigError for a promise that cannot be kept."""
    unknown = options.keys() - JobOptions.__annotations__.keys()
    if unknown:
        raise ConfigError(f"unknown option {min(unknown)!r}; known are {', '.join(JobOptions.__annotations__)}")
    if inspect.isclass(source):
        perform = getattr(source, "perform", None)
        if perform is None:
            raise ConfigError(f"{source.__qualname__} has no method perform, so there is nothing to run")
        found = inspect.getattr_static(source, "perform")
        function, call, bound = perform, _caller(source), not isinstance(found, staticmethod | classmethod)
    elif callable(source) and hasattr(source, "__qualname__"):
        function, call, bound = source, source, False
    else:
        raise ConfigError(f"{source!r} is neither a function nor a worker class; write a function that calls it")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigError(f"{function.__qualname__} is a generator; a job returns one value")
    inside: Literal["loop", "thread"] = "loop" if inspect.iscoroutinefunction(function) else "thread"
    executor = _executor(function.__qualname__, inside, options)
    stable, checked = job_name(source, options.get("name")), check_tags(options.get("tags", ()))
    head, _, tail = encode_spec(Spec(stable, Raw(b"@args"), SpecOptions(tags=checked))).rpartition(b"@args")
    signature = Signature.of(function, bound=bound)
    deadline, limit = _span(options, "deadline"), limited(options.get("limit"), stable, signature)
    unique = uniqueness(options, signature)
    return Registered(
        name=stable,
        source=source,
        call=call,
        signature=signature,
        deadline=deadline,
        unique=unique,
        limit=limit,
        executor=executor,
        inside=inside,
        needs=needed(function, bound=bound, on_loop=inside == "loop"),
        aliases=check_aliases(options.get("aliases", ())),
        queue=check_queue(options.get("queue", "default")),
        priority=check_priority(options.get("priority", 0)),
        retry=None if options.get("retry") is None else Retry.of(options.get("retry")),
        backoff=_hook(source, "backoff", inside),
        exhausted=_heard(options.get("on_exhausted"), inside) or _hook(source, "exhausted", inside),
        timeout=_timeout(options),
        hard_timeout=_duration(options, "hard_timeout"),
        max_memory=_memory(options.get("max_memory")),
        expires=_span(options, "expires"),
        tags=checked,
        spec=None if unique or deadline or limit else (head, tail),
    )


def _executor(name: str, inside: Literal["loop", "thread"], options: JobOptions) -> How:
    wanted = options.get("executor") or inside
    if wanted not in get_args(How):
        raise ConfigError(f"executor={wanted!r} must be one of {', '.join(get_args(How))}")
    if wanted not in (inside, "process"):
        raise ConfigError(f"executor={wanted!r}: {name} runs in executor {inside!r}, or 'process'")
    for option in ("hard_timeout", "max_memory"):
        if options.get(option) is not None and wanted != "process":
            raise ConfigError(
                f"{option}= needs executor='process': nothing can kill {name} in a worker that other jobs share"
            )
    return wanted


def _timeout(options: JobOptions) -> int | None:
    hard = _duration(options, "hard_timeout")
    if "timeout" not in options:
        return HOUR if hard is None else None  # whoever says when it is killed need not lift our hour as well
    timeout = _duration(options, "timeout")
    if hard is not None and timeout is not None and timeout > hard:
        raise ConfigError(
            f"timeout={timeout / 1_000:g} s is longer than hard_timeout={hard / 1_000:g} s;"
            " the first asks the job to end, the second kills it"
        )
    return timeout


def _duration(options: JobOptions, name: Literal["timeout", "hard_timeout"]) -> int | None:
    value = options.get(name)
    return None if value is None else milliseconds(value, name) or None


def _span(options: JobOptions, name: Literal["expires", "deadline"]) -> int:
    value = options.get(name)
    return 0 if value is None else lasting(value, name)


def _memory(value: int | str | None) -> int:
    if value is None:
        return 0
    memory = size(value, "max_memory")
    if memory < LEAST_MEMORY:
        raise ConfigError(f"max_memory={value!r} must be at least 64MiB: the interpreter itself needs half of that")
    return memory


def _hook(source: Any, name: str, inside: Literal["loop", "thread"]) -> Callable[..., Any] | None:
    """A method that a worker class has beside `perform`, on an instance of its own. Raises ConfigError."""
    method = getattr(source, name, None) if inspect.isclass(source) else None
    if method is None:
        return None
    _heard(method, "thread" if name == "backoff" else inside)
    return _caller(source, name)


def _heard(hook: Any, inside: Literal["loop", "thread"]) -> Any:
    if hook is not None and not callable(hook):
        raise ConfigError(f"{hook!r:.200} cannot be called when a job has failed; write a function")
    if inspect.iscoroutinefunction(hook) and inside == "thread":
        raise ConfigError(f"{hook.__qualname__} is called where nothing can await it; write it as a plain def")
    return hook


def _caller(worker_class: Any, method: str = "perform") -> Callable[..., Any]:
    def perform(*args: Any, **kwargs: Any) -> Any:
        return getattr(worker_class(), method)(*args, **kwargs)

    return perform


def _composed(registered: Registered, policies: Policies) -> Registered:
    on_loop = registered.inside == "loop"
    call = registered.call
    if registered.needs.dependencies:
        resources, replaced = policies.lifespan.resources, policies.replaced
        call = injecting(call, registered.needs, resources=resources, replaced=replaced, on_loop=on_loop)
    within = around_runs(policies.middleware, call, on_loop=on_loop)
    if within is not call or registered.exhausted is not None:
        within = _noting_arguments(within, registered.signature)
    call = within
    return registered if call is registered.call else replace(registered, call=call)


def _noting_arguments(call: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        current_job().arguments = signature.named(args, kwargs)
        return call(*args, **kwargs)

    return called


class Registry:
    """The names that one app knows."""

    def __init__(self) -> None:
        self._by_name: dict[str, Registered] = {}
        self._by_source: dict[Any, Registered] = {}
        self.policies = Policies()
        self._performing: dict[tuple[str, str], tuple[Registered, Retry]] = {}

    def define(self, source: Any, **options: Unpack[JobOptions]) -> Registered:
        """Register code and make its names known. Raises ConfigError."""
        registered = replace(register(source, **options), sealing=self.policies.sealing)
        self.add(registered)
        return registered

    def add(self, registered: Registered) -> None:
        """Make a name known, aliases included. Raises ConfigError when other code has taken it."""
        for name in (registered.name, *registered.aliases):
            other = self._by_name.get(name)
            if other is not None and other.source is not registered.source:
                raise ConfigError(f"two jobs are named {name!r}; give one of them a name=")
        for name in (registered.name, *registered.aliases):
            self._by_name[name] = registered
        self._performing.clear()
        self._by_source[registered.source] = registered

    def policies_changed(self) -> None:
        """What surrounds enqueues and runs is put together anew, and retry policies are looked up anew."""
        self.policies.changed()
        self._performing.clear()

    def get(self, name: str) -> Registered | None:
        """The code behind a name or alias."""
        return self._by_name.get(name)

    def performing(self, name: str, queue: str) -> tuple[Registered, Retry] | None:
        """The same as a worker performs it from this queue: its call within what the app puts around every run, and its
        retry policy. Put together once, so that an app which puts nothing there pays nothing."""
        found = self._performing.get((name, queue))
        if found is None and (registered := self._by_name.get(name)) is not None:
            found = _composed(registered, self.policies), self.policies.retry_of(registered.retry, queue)
            self._performing[name, queue] = found
        return found

    def of(self, source: Any) -> Registered | None:
        """The registration of a function or class."""
        return self._by_source.get(source) if isinstance(source, Hashable) else None

    def names(self) -> list[str]:
        """Every name, without aliases."""
        return sorted({registered.name for registered in self._by_name.values()})

    def queues(self) -> list[str]:
        """Every queue that a registered job names."""
        return sorted({registered.queue for registered in self._by_name.values()})

    def __iter__(self) -> Iterator[Registered]:
        return iter(dict.fromkeys(self._by_source.values()))

    def __len__(self) -> int:
        return len(self._by_source)
