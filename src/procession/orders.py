"""What a person tells a queue worker to do, and the stack that it answers with. Nouns: nothing here waits or asks.

An order waits in the store until its worker has heard it: its bell rings, and each heartbeat brings it. Orders are a
wish and not a queue of commands: of quiet, resume and stop the latest counts, and hearing one twice does no harm.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid4

from msgspec import Struct

from procession.names import check_text

Verb = Literal["quiet", "resume", "stop", "stack"]
"""Claim nothing more · claim again · finish what runs and end · say where the code of what runs is now."""

HEARD_WITHIN = 3_600_000
"""Milliseconds after which what is kept of a worker's orders, and its last stack, is gone."""
LONGEST_STACK = 32_768
"""Bytes of a stack that are kept."""


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order, as it is stored: JSON."""

    verb: Verb
    id: str
    """The caller's bell for the answer, `@` before it; new for each order."""
    by: str = ""
    """Who gave it, in their own words; at most 100 characters."""
    jid: UUID | None = None
    """For a stack: of this job only."""
    at: int = 0
    """When it was given, milliseconds since the epoch by the store's clock; the store fills it in."""

    @property
    def kind(self) -> str:
        """Of each kind a worker has one order at a time: `course` (quiet, resume, stop) or `stack`."""
        return "stack" if self.verb == "stack" else "course"


class Stack(Struct, frozen=True, kw_only=True):
    """Where the code of a worker's jobs was, in words."""

    order: str
    """The id of the order that it answers."""
    text: str
    """At most 32 kB; what is longer is cut."""
    at: int = 0
    """When the store took it, milliseconds since the epoch."""


def new_order(verb: Verb, *, by: str = "", jid: UUID | None = None) -> Order:
    """An order with an id of its own. Raises ConfigError for a `by` that is no text."""
    return Order(verb=verb, id=uuid4().hex, by=check_text(by, "by")[:100], jid=jid)


def cut(text: str) -> str:
    """A stack within its bound."""
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= LONGEST_STACK:
        return encoded.decode()
    return f"{encoded[: LONGEST_STACK - 40].decode('utf-8', 'ignore')}\n… cut: it was {len(encoded):,} bytes"
