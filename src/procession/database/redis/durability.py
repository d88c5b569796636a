"""Durability beyond the server's memory: promised before anything is written, confirmed afterwards, never less in
silence.

`fsync` waits until the append-only file is on the disk (`WAITAOF`, Redis 7.2 or Valkey 7.2), `replica` until one
replica has acknowledged (`WAIT`), on the line that wrote and within the budget. Called by `asking.py`.
"""

from __future__ import annotations

from typing import Any

from procession.clock import Deadline
from procession.database.operation import Durability
from procession.database.redis.opening import FORMAT
from procession.database.redis.steps import Exchange, Talk, error_in
from procession.database.redis.target import Target
from procession.database.redis.wire import Command
from procession.errors import StoreRefused, Unavailable

PROBE = 300
"""Milliseconds that a store may take to show that it can confirm, before a durable question is refused."""
MARGIN = 0.1
"""Seconds of the budget kept for the answer of a store that waits for its confirmation."""


def probe(target: Target, line: Any, durability: Durability) -> Talk[None]:
    """See that the store can confirm, before anything is written."""
    command = ("WAITAOF", 1, 0, PROBE) if durability == "fsync" else ("WAIT", 1, PROBE)
    reply = (yield Exchange(line, [command]))[0]
    why = error_in(reply)
    if why is None and not _count(reply):
        why = "no replica acknowledges" if durability == "replica" else "its disk does not keep up"
    if why is not None:
        raise StoreRefused(f"the store at {target.where} cannot keep durability={durability!r}: {why}")


def confirmation(target: Target, durability: Durability, deadline: Deadline) -> list[Command]:
    """A write of our own and the wait for it. Without that write a question that changed nothing, such as a repeated
    enqueue, would be confirmed at once, whatever became of its first try."""
    milliseconds = max(round((deadline.left() - MARGIN) * 1_000), 1)
    wait = ("WAITAOF", 1, 0, milliseconds) if durability == "fsync" else ("WAIT", 1, milliseconds)
    return [("HSET", f"{target.tag}:meta", "format", FORMAT), wait]


def confirmed(target: Target, durability: Durability, reply: Any) -> None:
    """Raises Unavailable when the wait for our write ended without what it waited for."""
    if error_in(reply) is None and _count(reply):
        return
    where = "on its disk" if durability == "fsync" else "by a replica"
    why = error_in(reply) or "the time is over"
    raise Unavailable(
        f"the store at {target.where} has it in memory, and did not confirm that it is kept {where}: {why};"
        " it is lost if the store fails now",
        asked=True,
    )


def _count(reply: Any) -> int:
    return int(reply[0] if isinstance(reply, list) else reply)
