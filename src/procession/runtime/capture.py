"""Log lines of running jobs, from `logging` into their notebooks: a handler on the root logger while anything performs.

Whose line it is, the context says: the job's task and what it starts, its thread, its job process. Threads that a job
starts itself have no context of it (`asyncio.to_thread` and `contextvars.copy_context().run` do). A line outside a
job is passed over, and so are the library's own, except those of `current_job().log`.

Called by the queue worker and by job processes; nothing is done, and nothing costs, while nobody logs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from procession.context import CURRENT
from procession.errors import JobError

OFF = "OFF"


class Capture(logging.Handler):
    """Writes what is logged inside a job into its notebook. One does so for all queue workers of a process, or a line
    would be written once for each."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = logging.NOTSET
        self._levels: list[int] = []
        """Of each block that is `capturing`: the lowest is wanted."""
        self._before = self._lowered = logging.NOTSET
        self._of_jobs = logging.NOTSET

    def begin(self, wanted: int) -> None:
        """One more wants lines of this level and above."""
        root = logging.getLogger()
        if not self._levels:
            self._before = self._lowered = root.level
        self._levels.append(wanted)
        self.wanted = min(self._levels)
        if all(handler is self for handler in root.handlers):
            if root.level > wanted:
                root.setLevel(wanted)
                self._lowered = wanted
            shown = OF_JOBS.getEffectiveLevel()  # a worker at a terminal says there what it shows, and not what is kept
            if shown > wanted and all(it.level >= shown for it in logging.getLogger("procession").handlers):
                OF_JOBS.setLevel(wanted)
                self._of_jobs = wanted
        root.addHandler(self)

    def end(self, wanted: int) -> None:
        """One less. The last leaves the root logger as the first has found it."""
        self._levels.remove(wanted)
        self.wanted = min(self._levels, default=wanted)
        root = logging.getLogger()
        if not self._levels:
            root.removeHandler(self)
            if root.level == self._lowered:
                root.setLevel(self._before)
            if OF_JOBS.level == self._of_jobs:
                OF_JOBS.setLevel(logging.NOTSET)
            self._of_jobs = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        if record.levelno >= logging.WARNING and self._alone(record.name):
            last = logging.lastResort  # what a program that never set up logging shows: not less because we listen
            if last is not None and record.levelno >= last.level:
                last.handle(record)
        job = CURRENT.get()
        if job is None or record.levelno < self.wanted or _ours(record.name):
            return
        try:
            job.notes().write(round(record.created * 1_000), record.levelname, record.name, self.format(record))
        except JobError:  # raised inside a job process, wherever it is: the run is not to go on
            raise
        except Exception:
            self.handleError(record)

    def _alone(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


def _ours(name: str) -> bool:
    return name.partition(".")[0] == "procession" and not name.startswith("procession.job.")


OF_JOBS = logging.getLogger("procession.job")
"""What is above `current_job().log`."""
CAPTURE = Capture()
"""The one of this process."""


@contextmanager
def capturing(level: str) -> Iterator[None]:
    """Capture lines of `level` and above (a name, or "OFF") while the block runs.

    The levels of a program that has set up logging stand: what its loggers hold back is not seen here. Where the root
    logger has no handler yet, nobody has, and it is lowered to `level` meanwhile.
    """
    if level == OFF:
        yield
        return
    wanted = logging.getLevelNamesMapping()[level]
    CAPTURE.begin(wanted)
    try:
        yield
    finally:
        CAPTURE.end(wanted)
