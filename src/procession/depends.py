"""Dependencies: parameters that a run fills, not the caller: `def send(to: str, db: Session = Depends(session))`.

They are no part of the call: left out of `.enqueue`'s arguments and of what is stored. Read from the signature where a
job is defined (`registry.py`), left out where calls are encoded (`codec.py`), provided anew in each run, and closed
after it, whatever became of it. The word and its shape are FastAPI's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from procession.errors import ConfigError

Provider = Callable[..., Any] | str


class Dependency:
    """The default that marks a parameter; `provider` is a callable, or the name of a resource of the lifespan."""

    __slots__ = ("provider",)

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def __repr__(self) -> str:
        shown = self.provider if isinstance(self.provider, str) else getattr(self.provider, "__qualname__", "…")
        return f"Depends({shown})"


def Depends(provider: Provider) -> Any:  # noqa: N802  # the field's own word
    """Mark a parameter to be filled in each run.

    Args:
        provider: a function whose return value is passed; a generator, whose yielded value is passed and which goes on
            when the run is over (an error of the run is raised at its `yield`; the run fails with it all the same);
            either as `async def` for `async def` jobs; or the name of a resource that the lifespan has yielded.
            Its own parameters may be dependencies, too. Within one run each provider is asked once.

    Raises:
        ConfigError: it is neither.
    """
    if not callable(provider) and not isinstance(provider, str):
        raise ConfigError(f"Depends({provider!r}): pass a function that provides the value, or the name of a resource")
    return Dependency(provider)


class Needs(Struct, frozen=True):
    """What a run fills in beside the arguments of the call."""

    dependencies: tuple[tuple[str, Dependency], ...] = ()
    behind: tuple[str, ...] = ()
    """Parameters of the call that stand behind a dependency, so that their arguments have to go by name …"""
    before: int = 0
    """… and how many stand in front of it."""

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call so that what is filled in does not push them out of place."""
        if not self.behind or len(args) <= self.before:
            return args, kwargs
        return args[: self.before], {**dict(zip(self.behind, args[self.before :], strict=False)), **kwargs}


def needed(function: Callable[..., Any], *, bound: bool, on_loop: bool) -> Needs:
    """The parameters of a job that are dependencies; `bound` leaves the first out of account. Raises ConfigError for
    what no run could fill."""
    parameters = dict([*inspect.signature(function).parameters.items()][int(bound) :])
    found = {name: it.default for name, it in parameters.items() if isinstance(it.default, Dependency)}
    several = any(it.kind is it.VAR_POSITIONAL for it in parameters.values())
    for name, dependency in found.items():
        kind = parameters[name].kind
        if kind is inspect.Parameter.POSITIONAL_ONLY or (several and kind is not inspect.Parameter.KEYWORD_ONLY):
            raise ConfigError(f"{function.__qualname__}: {name} is passed by name; write it behind the * or *args")
        _check(function.__qualname__, dependency.provider, on_loop)
    placed = [name for name, it in parameters.items() if it.kind in (it.POSITIONAL_ONLY, it.POSITIONAL_OR_KEYWORD)]
    first = next((at for at, name in enumerate(placed) if name in found), len(placed))
    return Needs(tuple(found.items()), tuple(name for name in placed[first:] if name not in found), first)


def _check(job: str, provider: Provider, on_loop: bool) -> None:
    if isinstance(provider, str):
        return
    name = getattr(provider, "__qualname__", repr(provider))
    awaited = inspect.iscoroutinefunction(provider) or inspect.isasyncgenfunction(provider)
    if awaited and not on_loop:
        raise ConfigError(f"{job} is a def job, where nothing can await {name}; make one of them the other kind")
    for inner in _own(provider).values():
        _check(job, inner.provider, on_loop)


@cache
def _own(provider: Callable[..., Any]) -> dict[str, Dependency]:
    try:
        parameters = inspect.signature(provider).parameters
    except ValueError:  # a builtin that does not say
        return {}
    for it in parameters.values():
        if it.default is it.empty and it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD):
            name = getattr(provider, "__qualname__", repr(provider))
            raise ConfigError(f"{name}: nobody gives {it.name} a value; give it a default, or make it a dependency")
    return {name: it.default for name, it in parameters.items() if isinstance(it.default, Dependency)}


def injecting(
    call: Callable[..., Any],
    needs: Needs,
    *,
    resources: Mapping[str, Any],
    replaced: Mapping[Provider, Provider],
    on_loop: bool,
) -> Callable[..., Any]:
    """The call of a job with its dependencies filled in. `replaced` has stand-ins for providers."""
    if on_loop:

        async def called(*args: Any, **kwargs: Any) -> Any:
            async with _Provided(resources, replaced) as provided:
                filled = {name: await provided.value(it) for name, it in needs.dependencies}
                args, kwargs = needs.named(args, kwargs)
                return await call(*args, **kwargs, **filled)
            raise AssertionError  # _Provided hides no error

        return called

    async def never_waits(*args: Any, **kwargs: Any) -> Any:
        async with _Provided(resources, replaced) as provided:
            filled = {name: await provided.value(it) for name, it in needs.dependencies}
            args, kwargs = needs.named(args, kwargs)
            return call(*args, **kwargs, **filled)
        raise AssertionError

    return lambda *args, **kwargs: _at_once(never_waits(*args, **kwargs))


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never waits; so one text fills in for `def` jobs, where there is no loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise ConfigError("a dependency of a def job waited for something")


class _Provided:
    """The values of one run, each made once, and closed in reverse."""

    def __init__(self, resources: Mapping[str, Any], replaced: Mapping[Provider, Provider]) -> None:
        self._resources = resources
        self._replaced = replaced
        self._stack = AsyncExitStack()
        self._made: dict[Provider, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        await self._stack.__aexit__(kind, error, trace)
        return False  # a provider that catches the error of a run does not turn it into a success

    async def value(self, dependency: Dependency) -> Any:
        provider = self._replaced.get(dependency.provider, dependency.provider)
        if provider not in self._made:
            self._made[provider] = await self._new(provider)
        return self._made[provider]

    async def _new(self, provider: Provider) -> Any:
        if isinstance(provider, str):
            if provider not in self._resources:
                raise ConfigError(f"Depends({provider!r}): no lifespan of the app has yielded a resource of this name")
            return self._resources[provider]
        own = {name: await self.value(it) for name, it in _own(provider).items()}
        if inspect.isasyncgenfunction(provider):
            return await self._stack.enter_async_context(asynccontextmanager(provider)(**own))
        if inspect.isgeneratorfunction(provider):
            return self._stack.enter_context(contextmanager(provider)(**own))
        made = provider(**own)
        return await made if inspect.iscoroutine(made) else made
