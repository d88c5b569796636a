"""Resources of a process that performs jobs: opened before its first job, closed after its last.

Opened by each queue worker on its loop, and by each job process on the loop that it keeps (`runtime/`). Jobs get at
them by `Depends("name")`. Programs that only enqueue open nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from procession.errors import ConfigError

if TYPE_CHECKING:
    from asyncio import Event
    from concurrent.futures import Future

F = TypeVar("F", bound=Callable[..., Any])


def _name(maker: Callable[..., Any]) -> str:
    return getattr(maker, "__qualname__", repr(maker))  # a partial has none


class Lifespan:
    """The makers of one app, and what they have made in this process."""

    def __init__(self) -> None:
        self._makers: list[Callable[[Any], Any]] = []
        self._open = False
        self._opening: Future[None] | None = None
        """Done when whoever opens them has come to an end with it, well or not."""
        self._resources: dict[str, Any] = {}
        self.resources: Mapping[str, Any] = MappingProxyType(self._resources)
        """Name → value, while they are open."""

    def add(self, maker: F) -> F:
        """Take in a generator, `async def` or `def`, that yields once. Raises ConfigError for anything else."""
        if not (inspect.isasyncgenfunction(maker) or inspect.isgeneratorfunction(maker)):
            raise ConfigError(f"{_name(maker)} must be a generator that yields a dict of resources once")
        self._makers.append(maker)
        return maker

    def anew(self) -> Lifespan:
        """The same makers with nothing open, for a worker that is to share nothing with the one that is there."""
        other = Lifespan()
        other._makers = self._makers
        return other

    @asynccontextmanager
    async def opened(self, app: object, stopping: Event | None = None) -> AsyncIterator[None]:
        """Open all, in order; close them in reverse. Within one process they are opened once: a second queue worker
        that begins there meanwhile shares what the first has opened, or is about to open, and will close, so it should
        end before that one. Once `stopping` is set, what is not open yet is waited for no longer: then none is.

        Raises:
            ConfigError: one yields something else than a dict, or two yield the same name.
        """
        async with AsyncExitStack() as stack:
            if stopping is None:
                await self._enter(stack, app)
            else:
                await self._enter_unless(stopping, stack, app)
            yield

    async def _enter_unless(self, stopping: Event, stack: AsyncExitStack, app: object) -> None:
        import asyncio  # not by a program that only enqueues

        waiting = asyncio.timeout(None)

        async def give_up() -> None:
            await stopping.wait()
            waiting.reschedule(0)

        try:
            async with waiting:
                giving_up = asyncio.create_task(give_up())
                try:
                    await self._enter(stack, app)
                finally:
                    giving_up.cancel()
        except TimeoutError:
            if not waiting.expired():
                raise

    async def _enter(self, stack: AsyncExitStack, app: object) -> None:
        """Open what nobody in this process has opened; whoever comes meanwhile waits, and sees whether it went well."""
        import asyncio  # not by a program that only enqueues
        from concurrent.futures import Future

        while self._opening is not None:
            await asyncio.shield(asyncio.wrap_future(self._opening))
        if self._open:
            return
        opening = self._opening = Future[None]()
        try:
            async with AsyncExitStack() as opened:
                opened.callback(self._closed)
                for maker in self._makers:
                    if inspect.isasyncgenfunction(maker):
                        made = await opened.enter_async_context(asynccontextmanager(maker)(app))
                    else:
                        made = opened.enter_context(contextmanager(maker)(app))
                    self._take(maker, made)
                self._open = True
                stack.push_async_exit(opened.pop_all())
        finally:
            self._opening = None
            opening.set_result(None)

    def _closed(self) -> None:
        self._open = False
        self._resources.clear()

    def _take(self, maker: Callable[..., Any], made: Any) -> None:
        if made is None:
            return
        if not isinstance(made, Mapping) or not all(isinstance(name, str) for name in made):
            raise ConfigError(f"{_name(maker)} yields {type(made).__qualname__}; yield a dict of name → resource")
        twice = self._resources.keys() & made.keys()
        if twice:
            raise ConfigError(f"{_name(maker)} yields {min(twice)!r}, which another lifespan has yielded")
        self._resources.update(made)
