"""A question for the database as a value, and the two kinds of connection that ask it.

A verb of the database returns an `Operation`: nothing has happened yet. A connection asks one or several of them in
one round trip. So one text serves sync callers, async callers, many-in-one-trip and, later, "inside my own
transaction". Each operation is atomic; several asked together are not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Durability = Literal["memory", "fsync", "replica"]
"""What must be true before an answer counts: the server's memory has it, its disk has it, one replica has it."""


class Operation(Generic[T]):
    """A question not yet asked. Opaque to all but the connection of the database that made it."""

    __slots__ = ()


Walk = Generator[Operation[Any] | tuple[Operation[Any], ...], Any, T]
"""A walk that thinks and does no I/O: it yields the question of one trip, or several, is sent what was answered, and
returns what it came to. One text for sync and async callers."""


class Connection(Protocol):
    """Asks operations, and waits on bells, for a sync caller. Safe to share between threads.

    Every call has a deadline of its own. A question is asked again only when it is known not to have run.

    With a `durability` beyond memory, the answer comes once what was written is kept so; a store that cannot do that is
    found out before anything is written.

    Raises:
        Unavailable: no answer within the deadline; `asked` says whether the question may have run. Also when it was
            written and `durability` not confirmed in time.
        StoreRefused: the store answered "not now" (full, read-only, loading), or cannot keep to `durability`; nothing
            was changed.
    """

    @overload
    def ask(self, a: Operation[A], /, *, durability: Durability = "memory") -> A: ...
    @overload
    def ask(self, a: Operation[A], b: Operation[B], /, *, durability: Durability = "memory") -> tuple[A, B]: ...
    @overload
    def ask(
        self, a: Operation[A], b: Operation[B], c: Operation[C], /, *, durability: Durability = "memory"
    ) -> tuple[A, B, C]: ...

    def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """Block until one of the bells rings or `timeout` seconds passed. Returns the one that rang, or None.

        A bell is a queue name (a job may be ready) or `@` and an id (of a queue worker or of a waiting caller).
        A ring is a hint and hands out nothing: whoever hears it asks again.
        """
        ...

    def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Operation[A], /) -> tuple[str | None, A]:
        """Wait as `wait` does, and ask as it ends, whether a bell rang or not: in the same round trip, since the
        question lies at the store meanwhile. It is asked even if its asker is cut off by then, and does not hear."""
        ...

    def close(self) -> None:
        """Give back what the connection holds. Asking again opens it anew."""
        ...


class AsyncConnection(Protocol):
    """The same as `Connection`, for the event loop that it is first used on. What `ask` returns is awaited at once;
    several callers may wait at the same time."""

    @overload
    def ask(self, a: Operation[A], /, *, durability: Durability = "memory") -> Awaitable[A]: ...
    @overload
    def ask(
        self, a: Operation[A], b: Operation[B], /, *, durability: Durability = "memory"
    ) -> Awaitable[tuple[A, B]]: ...
    @overload
    def ask(
        self, a: Operation[A], b: Operation[B], c: Operation[C], /, *, durability: Durability = "memory"
    ) -> Awaitable[tuple[A, B, C]]: ...

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `Connection.wait`."""
        ...

    async def wait_then_ask(
        self, bells: Sequence[str], timeout: float, operation: Operation[A], /
    ) -> tuple[str | None, A]:
        """See `Connection.wait_then_ask`."""
        ...

    async def close(self) -> None:
        """See `Connection.close`."""
        ...
