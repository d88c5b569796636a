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

OFF = "OFF"


class Capture(logging.Handler):
    """Writes what is logged inside a job into its notebook."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.wanted = level

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


@contextmanager
def capturing(level: str) -> Iterator[None]:
    """Capture lines of `level` and above (a name, or "OFF") while the block runs.

    The levels of a program that has set up logging stand: what its loggers hold back is not seen here. Where the root
    logger has no handler yet, nobody has, and it is lowered to `level` meanwhile.
    """
    if level == OFF:
        yield
        return
    root, wanted = logging.getLogger(), logging.getLevelNamesMapping()[level]
    handler, before = Capture(wanted), root.level
    lowered = not root.handlers and before > wanted
    if lowered:
        root.setLevel(wanted)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        if lowered and root.level == wanted:
            root.setLevel(before)
