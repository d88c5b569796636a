"""The memory database: the executable specification of the seam, in dicts and the table of moves.

It lives in one process: producers and queue workers of `memory://NAME` share its data within that process and lose
it with it. Every change of state goes through `Store.move`, which asks `moves.target`. Callers: tests, and
programs that want
a queue without a server.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from procession.clock import monotonic, wall
from procession.database import Policy
from procession.database.memory.notes import NoteVerbs
from procession.database.memory.orders import OrderVerbs
from procession.database.memory.schedules import ScheduleVerbs
from procession.database.memory.store import Store
from procession.database.operation import AsyncConnection, Connection, Durability, Operation
from procession.errors import StoreRefused

T = TypeVar("T")


class MemoryOperation(Operation[T], Generic[T]):
    """A verb that runs under the store's lock."""

    __slots__ = ("_done", "run")

    def __init__(self, run: Callable[[], T], done: Callable[[], None]) -> None:
        self.run = run
        self._done = done

    def whole(self) -> T:
        """Run it, and then what follows from it."""
        answer = self.run()
        self._done()
        return answer


class MemoryDatabase(NoteVerbs, OrderVerbs, ScheduleVerbs):
    """See `Database`. Its verbs are in `verbs.py`, its data and the one way to change a state in `store.py`."""

    def __init__(self, store: Store, url: str, namespace: str, now: Callable[[], int] | None) -> None:
        super().__init__(store, now or wall)
        self.url = url
        self.namespace = namespace

    def connect(self, budget: float = 2.0) -> Connection:
        """See `Database.connect`."""
        return MemoryConnection(self.store)

    def connect_async(self, budget: float = 2.0) -> AsyncConnection:
        """See `Database.connect_async`."""
        return MemoryAsyncConnection(self.store)

    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""
        return MemoryOperation(run, lambda: self.store.hand_on(self.now()))


class MemoryConnection:
    """Asks for sync callers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ask(self, *operations: Any, durability: Durability = "memory") -> Any:
        """See `Connection.ask`."""
        _check(durability)
        answers = tuple(self._store.locked(operation.whole) for operation in operations)
        return answers[0] if len(answers) == 1 else answers

    def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `Connection.wait`."""
        heard = threading.Event()
        deadline = monotonic() + timeout
        with self._store.listening(heard.set):
            while True:
                bell = self._store.heard(bells)
                if bell is not None or not heard.wait(max(deadline - monotonic(), 0)):
                    return bell
                heard.clear()

    def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Any) -> tuple[str | None, Any]:
        """See `Connection.wait_then_ask`."""
        return self.wait(bells, timeout), self.ask(operation)

    def close(self) -> None:
        """See `Connection.close`."""


class MemoryAsyncConnection:
    """Asks for an event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ask(self, *operations: Any, durability: Durability = "memory") -> Any:
        """See `AsyncConnection.ask`."""
        _check(durability)
        await asyncio.sleep(0)
        answers = tuple(self._store.locked(operation.whole) for operation in operations)
        return answers[0] if len(answers) == 1 else answers

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `AsyncConnection.wait`."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()

        def ring() -> None:
            loop.call_soon_threadsafe(heard.set)

        with self._store.listening(ring):
            try:
                async with asyncio.timeout(timeout):
                    while (bell := self._store.heard(bells)) is None:
                        await heard.wait()
                        heard.clear()
                    return bell
            except TimeoutError:
                return None

    async def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Any) -> tuple[str | None, Any]:
        """See `AsyncConnection.wait_then_ask`."""
        return await self.wait(bells, timeout), await self.ask(operation)

    async def close(self) -> None:
        """See `AsyncConnection.close`."""


def _check(durability: Durability) -> None:
    if durability != "memory":
        raise StoreRefused(f"the memory store cannot keep durability={durability!r}: it ends with its process")


_stores: dict[tuple[str, str], Store] = {}
_lock = threading.Lock()


def open(  # noqa: A001
    url: str, *, namespace: str, policy: Policy, now: Callable[[], int] | None = None
) -> MemoryDatabase:
    """See `procession.database.open`. The same URL and namespace share their data within this process."""
    with _lock:
        store = _stores.setdefault((url, namespace), Store(policy))
    return MemoryDatabase(store, url, namespace, now)
