"""Which code performs which name. A registry belongs to one app; nothing here is global."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

from msgspec import Raw, Struct

from procession.clock import milliseconds
from procession.codec import Signature, encode_spec
from procession.errors import ConfigError
from procession.job import PRIORITIES, Spec
from procession.names import check_queue, check_tags, job_name
from procession.retry import Retry

HOUR = 3600 * 1000


class Registered(Struct, frozen=True, kw_only=True):
    """One job function or worker class with the options given where it is defined."""

    name: str
    source: Any
    call: Callable[..., Any]
    """What an attempt calls: the function, or a maker of an instance that calls its `perform`."""
    signature: Signature
    executor: Literal["loop", "thread"]
    aliases: tuple[str, ...] = ()
    queue: str = "default"
    priority: int = 0
    retry: Retry = Retry()
    timeout: int | None = HOUR
    """Milliseconds per attempt, None when lifted."""
    expires: int = 0
    """Milliseconds after which a job that was not started is cancelled; 0 means never."""
    tags: tuple[str, ...] = ()
    spec: tuple[bytes, bytes] = (b"", b"")
    """The stored spec of a call without options: what stands before its arguments, and what behind them."""


def check_priority(priority: object) -> int:
    """A priority that may be used. Raises ConfigError: never clamped."""
    if not isinstance(priority, int) or isinstance(priority, bool) or priority not in PRIORITIES:
        raise ConfigError(
            f"priority={priority!r} must be a whole number, {PRIORITIES[0]} to {PRIORITIES[-1]}; the higher goes first"
        )
    return priority


def register(
    source: Any,
    *,
    name: str | None = None,
    aliases: list[str] | tuple[str, ...] = (),
    queue: str = "default",
    priority: int = 0,
    retry: Retry | bool | int | None = None,
    timeout: Any = HOUR / 1000,
    hard_timeout: Any = None,
    expires: Any = None,
    tags: list[str] | tuple[str, ...] = (),
    executor: str | None = None,
) -> Registered:
    """Check a job function or worker class and its options. Raises ConfigError for a promise that cannot be kept."""
    if inspect.isclass(source):
        perform = getattr(source, "perform", None)
        if perform is None:
            raise ConfigError(f"{source.__qualname__} has no method perform, so there is nothing to run")
        function, call, bound = perform, _caller(source), True
    elif callable(source):
        function, call, bound = source, source, False
    else:
        raise ConfigError(f"{source!r} is neither a function nor a worker class")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigError(f"{function.__qualname__} is a generator; a job returns one value")
    wanted: Literal["loop", "thread"] = "loop" if inspect.iscoroutinefunction(function) else "thread"
    if executor == "process" or hard_timeout is not None:
        raise ConfigError(
            "executor='process' and hard_timeout= are not there yet: nothing here can kill a thread or the loop"
        )
    if executor not in (None, wanted):
        raise ConfigError(f"executor={executor!r}: {function.__qualname__} runs in executor {wanted!r}")
    stable, checked = job_name(source, name), check_tags(tags)
    head, _, tail = encode_spec(Spec(name=stable, args=Raw(b"@args"), tags=checked)).rpartition(b"@args")
    return Registered(
        name=stable,
        source=source,
        call=call,
        signature=Signature.of(function, bound=bound),
        executor=wanted,
        aliases=tuple(aliases),
        queue=check_queue(queue),
        priority=check_priority(priority),
        retry=Retry.of(retry),
        timeout=None if timeout is None else milliseconds(timeout, "timeout") or None,
        expires=0 if expires is None else milliseconds(expires, "expires"),
        tags=checked,
        spec=(head, tail),
    )


def _caller(worker_class: Any) -> Callable[..., Any]:
    def perform(*args: Any, **kwargs: Any) -> Any:
        return worker_class().perform(*args, **kwargs)

    return perform


class Registry:
    """The names that one app knows."""

    def __init__(self) -> None:
        self._by_name: dict[str, Registered] = {}
        self._by_source: dict[Any, Registered] = {}

    def add(self, registered: Registered) -> None:
        """Make a name known, aliases included. Raises ConfigError when other code has taken it."""
        for name in (registered.name, *registered.aliases):
            other = self._by_name.get(name)
            if other is not None and other.source is not registered.source:
                raise ConfigError(f"two jobs are named {name!r}; give one of them a name=")
        for name in (registered.name, *registered.aliases):
            self._by_name[name] = registered
        self._by_source[registered.source] = registered

    def get(self, name: str) -> Registered | None:
        """The code behind a name or alias."""
        return self._by_name.get(name)

    def of(self, source: Any) -> Registered | None:
        """The registration of a function or class."""
        return self._by_source.get(source)

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
