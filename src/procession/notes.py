"""What a running job says of itself: progress and log lines, as values. Made where the job runs, carried to the store
by its queue worker, read by whoever looks. Nothing here waits, reads a clock or knows a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import Struct


class Progress(Struct, frozen=True):
    """How far a job is, as it last said: the report stays when the job ends or runs again."""

    part: float | None
    """0 to 1; None when the job does not know how much there is."""
    text: str = ""
    """At most 200 characters."""
    at: int = 0
    """Milliseconds since the epoch, by the store's clock."""


class Said(Struct, frozen=True):
    """One log line of an attempt, as it is stored: JSON."""

    at: int
    level: str
    logger: str
    text: str
    attempt: int


class LogLine(Said, frozen=True):
    """One log line of an attempt, as it is read."""

    index: int = 0
    """Its place among all lines of the job, from 1; `after=` takes it. Lines that were let go leave a gap."""


class Note(Struct, frozen=True, kw_only=True):
    """What one attempt has said since its last note: accepted while its claim is the current one."""

    jid: UUID
    token: bytes
    number: int
    """1, 2, … within the attempt, so that a note that is repeated after a lost answer is taken once."""
    progress: bytes = b""
    """A `Progress` as JSON, its `at` left to the store; empty when nothing new was reported."""
    lines: tuple[bytes, ...] = ()
    """Each a `Said` as JSON."""


_line = msgspec.json.Decoder(Said)


def logged(lines: Sequence[bytes], first: int) -> list[LogLine]:
    """Stored lines as they are read; `first` is the index of the first. One that makes no sense is shown as it is."""
    found = []
    for index, line in enumerate(lines, first):
        try:
            said = _line.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = Said(0, "", "", line.decode(errors="replace"), 0)
        found.append(LogLine(said.at, said.level, said.logger, said.text, said.attempt, index))
    return found
