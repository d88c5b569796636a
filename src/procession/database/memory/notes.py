"""What running jobs say of themselves, over `Store`. See `procession.database.notes`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec

from procession.database import Operation
from procession.database.memory.store import Store
from procession.database.notes import MOST_BYTES, MOST_LINES
from procession.job import State
from procession.notes import LogLine, Note, Progress, logged

T = TypeVar("T")


class NoteVerbs(ABC):
    """`note` and `log`."""

    store: Store
    now: Callable[[], int]

    @abstractmethod
    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""

    def note(self, notes: Sequence[Note]) -> Operation[list[bool]]:
        """See `Notes.note`."""
        return self.operation(lambda: [self._note(it) for it in notes])

    def _note(self, note: Note) -> bool:
        record = self.store.jobs.get(note.jid)
        if record is None or record.state is not State.RUNNING or record.token != note.token:
            return False
        token, number = record.noted
        if token == note.token and note.number <= number:
            return True
        record.noted = note.token, note.number
        if note.progress:
            progress = msgspec.json.decode(note.progress, type=Progress)
            record.progress = msgspec.structs.replace(progress, at=self.now())
        record.lines_ever += len(note.lines)
        lines = [*record.lines, *note.lines][-MOST_LINES:]
        size = sum(map(len, lines))
        while size > MOST_BYTES:
            size -= len(lines.pop(0))
        record.lines = lines
        return True

    def log(self, jid: UUID, after: int = 0) -> Operation[list[LogLine]]:
        """See `Notes.log`."""

        def run() -> list[LogLine]:
            record = self.store.jobs.get(jid)
            if record is None:
                return []
            let_go = record.lines_ever - len(record.lines)
            skipped = max(after - let_go, 0)
            return logged(record.lines[skipped:], let_go + skipped + 1)

        return self.operation(run)
