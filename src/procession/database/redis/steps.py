"""What a conversation with a server is made of: steps that it yields, and values that it speaks about. No I/O.

A conversation (`asking.py`, `opening.py`, `durability.py`) is a generator. It yields the step that it needs; the
connection takes the step, sync or async, and sends back what came or throws in what went wrong. So every rule stands
once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from procession.database.redis.address import Place, TlsOptions
from procession.database.redis.wire import Command, Refusal

T = TypeVar("T")
Talk = Generator["Open | Exchange | Aside", Any, T]


class AnyLine(Protocol):
    """A line of either kind; what it says goes through steps."""

    place: Place
    replies: list[Any]

    @property
    def is_stale(self) -> bool: ...
    def close(self) -> None: ...


class Open(Struct, frozen=True):
    """Connect to this place, in this part of the time that is left. Answered with a line."""

    place: Place
    tls: TlsOptions | None
    parts: int


class Exchange(Struct, frozen=True):
    """Send commands and read as many replies; with `seconds` by a deadline of its own. Answered with the replies."""

    line: Any
    commands: Sequence[Command]
    seconds: float | None = None


class Aside(Struct, frozen=True):
    """Make a call that may block, off the event loop; `untimed` ones have a limit of their own. Answered with its
    result."""

    key: Hashable
    call: Callable[[], Any]
    untimed: bool = False


class Slot:
    """A place for a line: empty until it is needed, emptied on doubt."""

    def __init__(self, line: AnyLine | None = None) -> None:
        self.line = line

    def ready(self) -> AnyLine | None:
        """The line, unless there is none or it may be dead."""
        return None if self.line is None or self.line.is_stale else self.line

    def drop(self) -> None:
        """Throw the line away."""
        if self.line is not None:
            self.line.close()
            self.line = None


class Question(Struct, frozen=True):
    """A command, and the text of the script that it names by its digest."""

    first: Command
    text: str = ""

    @property
    def whole(self) -> Command:
        """How it is put to a server that does not know the script."""
        return ("EVAL", self.text, *self.first[2:]) if self.text else self.first


def error_in(reply: Any) -> str | None:
    """The text of an error of the server, its code first; None for any other reply."""
    return str(reply) if isinstance(reply, Refusal) else None
