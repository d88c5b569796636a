"""What the runs of a queue worker have said and the store has not yet heard. Filled and emptied on the worker's loop.

Once a second the notebooks of running jobs are looked at; that of a run that ends is emptied at once, so that its last
words go in the trip that settles it, in front of it. What is `taken` stays until `noted` says that the store has
answered. Bounded by what an attempt may say, times the runs that a worker holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from procession.notes import Note, Progress, Said
from procession.runtime.executor import Run
from procession.sealing import Sealing

log = logging.getLogger("procession.worker")

EVERY = 1.0
"""Seconds between two notes of a running job."""


class NoteTaker:
    """Notes that wait for the next trip."""

    def __init__(self) -> None:
        self._waiting: list[Note] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def look(self, runs: Iterable[Run]) -> bool:
        """Take what running jobs have said; False while nothing waits. Does nothing while a trip is on its way."""
        if not self._waiting:
            for run in runs:
                if run.context.notebook is not None and not run.context.notebook.empty:
                    self._take(run, last=False)
        return bool(self._waiting)

    def ended(self, run: Run) -> None:
        """A run that said something came to its outcome: take all of it. Nothing that it says later counts."""
        self._take(run, last=True)

    def taken(self) -> list[Note]:
        """The notes of the next trip, oldest first."""
        return self._waiting.copy()

    def noted(self, count: int) -> None:
        """The store has answered for the first `count` notes."""
        del self._waiting[:count]

    def _take(self, run: Run, *, last: bool) -> None:
        notebook, claimed = run.context.notebook, run.claimed
        assert notebook is not None
        page = notebook.fetch(last=last)
        if page.progress or page.lines:
            notebook.numbered += 1
            note = Note(
                jid=claimed.jid,
                token=claimed.token,
                number=notebook.numbered,
                progress=page.progress,
                lines=page.lines,
            )
            sealing = run.registered.sealing
            try:
                self._waiting.append(note if sealing is None else sealed(note, sealing))
            except Exception:  # of the app's chain; the run goes on, and so do its notes
                log.exception("job %s: what it said could not be sealed and is not kept", claimed.jid)


_progress, _line = msgspec.json.Decoder(Progress), msgspec.json.Decoder(Said)


def sealed(note: Note, sealing: Sealing) -> Note:
    """A note whose texts nobody reads without the key; levels, loggers, times and the part done stay."""
    progress = note.progress
    if progress:
        told = _progress.decode(progress)
        progress = msgspec.json.encode(replace(told, text=sealing.seal_text(told.text, note.jid, "progress")))
    said = [_line.decode(line) for line in note.lines]
    lines = [msgspec.json.encode(replace(it, text=sealing.seal_text(it.text, note.jid, "log"))) for it in said]
    return replace(note, progress=progress, lines=tuple(lines))
