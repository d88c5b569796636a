"""What every group of an app's verbs stands on: its settings, its store, and the ways to ask it.

The groups are `steering.py`, `inquiry.py`, `insight.py`, `journal.py`, `scheduling.py`; `Procession` (`client.py`) is
all of them, and says how a question is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from procession import database as databases
from procession.config import Settings
from procession.database import AsyncConnection, Connection, Database, Operation, Walk
from procession.errors import ConfigError
from procession.registry import Registry

if TYPE_CHECKING:
    from procession.schedules import Schedules

T = TypeVar("T")


def check_limit(limit: object, most: int) -> int:
    """How many are asked for at most. Raises ConfigError for anything but a whole number from 1 to `most`."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
        raise ConfigError(f"limit={limit!r} must be a whole number and lie between 1 and {most:,}")
    return limit


class Asker(ABC):
    """An app as its verbs see it."""

    settings: Settings
    registry: Registry
    _credentials: Callable[[], tuple[str, str]] | None

    @cached_property
    def database(self) -> Database:
        """The store, opened on first use; it connects with the first question."""
        it = self.settings
        return databases.open(it.url, namespace=it.namespace, policy=it.policy(), credentials=self._credentials)

    @cached_property
    @abstractmethod
    def schedules(self) -> Schedules:
        """Schedules at run time, and those that stand in code."""

    @abstractmethod
    def ask(self, operation: Operation[T]) -> T:
        """Ask the store one question."""

    @abstractmethod
    async def ask_async(self, operation: Operation[T]) -> T:
        """See `ask`."""

    @abstractmethod
    def connection(self) -> Connection:
        """The connection of this process for sync callers."""

    @abstractmethod
    def connection_async(self) -> AsyncConnection:
        """The connection of the running event loop."""

    def walk(self, walk: Walk[T]) -> T:
        """Ask the questions of a walk, trip by trip; what it comes to."""
        answer: Any = None
        while True:
            try:
                asked: Any = walk.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = self.connection().ask(*asked) if isinstance(asked, tuple) else self.ask(asked)

    async def walk_async(self, walk: Walk[T]) -> T:
        """See `walk`."""
        answer: Any = None
        while True:
            try:
                asked: Any = walk.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = await (self.connection_async().ask(*asked) if isinstance(asked, tuple) else self.ask_async(asked))
