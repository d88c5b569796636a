"""What running jobs say of themselves: how `note.lua` reads it and `log.lua` answers. See
`procession.database.notes`."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from procession.database.operation import Operation
from procession.notes import LogLine, Note, Progress, logged

T = TypeVar("T")

SAID = struct.Struct(">III6s4s")
"""What stands in front of the progress in a row of `notes`; the layout is told in `lua/lib/notes.lua`."""


class NoteVerbs(ABC):
    """`note` and `log`."""

    @abstractmethod
    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]: ...

    def note(self, notes: Sequence[Note]) -> Operation[list[bool]]:
        """See `Notes.note`."""
        arguments: list[Any] = []
        for it in notes:
            arguments += (it.jid.bytes, it.token, it.number, it.progress, len(it.lines), *it.lines)
        return self._ask("note", arguments, lambda reply: [bool(accepted) for accepted in reply])

    def log(self, jid: UUID, after: int = 0) -> Operation[list[LogLine]]:
        """See `Notes.log`."""
        return self._ask("log", [jid.bytes, after], lambda reply: logged(reply[1:], reply[0]) if reply else [])


def progress_from(row: bytes | None) -> Progress | None:
    """The progress within a row of `notes`; None where there is none, or none that can be read."""
    if not row or len(row) <= SAID.size:
        return None
    at = int.from_bytes(SAID.unpack_from(row)[3], "big")
    try:
        return msgspec.structs.replace(msgspec.json.decode(row[SAID.size :], type=Progress), at=at)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
