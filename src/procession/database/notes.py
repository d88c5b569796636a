"""The verbs about what running jobs say of themselves: queue workers write it, people and dashboards read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from procession.database.operation import Operation
from procession.notes import LogLine, Note

MOST_LINES, MOST_BYTES = 2_000, 262_144
"""What is kept of one job's lines, all its attempts together: the newest, in number and in bytes of JSON."""


class Notes(Protocol):
    """Progress and log lines."""

    def note(self, notes: Sequence[Note]) -> Operation[list[bool]]:
        """Keep what attempts have said; True where it was accepted, in order.

        - Accepted only while the job is running under the note's claim token: a stale attempt writes nothing.
        - A note whose number was taken before from the same attempt changes nothing, so a note may be repeated.
        - The newest 2,000 lines and 256 kB of a job are kept, and its last progress; all go away with the job.
        """
        ...

    def log(self, jid: UUID, after: int = 0) -> Operation[list[LogLine]]:
        """Read the lines of a job whose index is greater than `after`, in the order in which they were kept.

        - An index counts from 1, never changes and is never given twice. Empty for an unknown job.
        """
        ...
