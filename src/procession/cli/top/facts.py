"""What `procession top` shows, kept as one value; and the rates between two of them."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from procession.client import Procession
from procession.clock import wall
from procession.database import Counts, QueueInfo, WorkerInfo
from procession.database.measures import ErrorGroup
from procession.job import Job

OVER = 5_000
"""Milliseconds over which a rate is taken."""
MOST_JOBS = 100
MOST_ERRORS = 5
EVENTS = ("enqueued", "processed", "failed", "retried")


class Facts(Struct, frozen=True, kw_only=True):
    """One look at a namespace."""

    at: int
    """Milliseconds since the epoch, by this machine's clock."""
    counts: Counts
    queues: tuple[QueueInfo, ...]
    workers: tuple[WorkerInfo, ...]
    errors: tuple[ErrorGroup, ...]
    jobs: tuple[Job, ...]
    """What the filter lets through."""
    rates: dict[str, float]
    """Events a second over the last five; empty in the first look."""


class Watcher:
    """Looks at a namespace again and again."""

    def __init__(self, app: Procession) -> None:
        self._app = app
        self._seen: deque[tuple[int, Counts]] = deque(maxlen=60)

    def look(self, text: str) -> Facts:
        """The whole, and the jobs that the filter lets through: a few trips. Raises FilterError, DatabaseError."""
        database = self._app.database
        connection = self._app.connection()
        counts, queues, workers = connection.ask(database.counts(), database.queues(), database.workers())
        errors = connection.ask(database.groups(MOST_ERRORS))
        jobs = self._app.search(text, limit=MOST_JOBS).jobs
        at = wall()
        self._seen.append((at, counts))
        return Facts(
            at=at, counts=counts, queues=tuple(queues), workers=tuple(workers), errors=tuple(errors),
            jobs=tuple(jobs), rates=self._rates(at, counts),
        )  # fmt: skip

    def _rates(self, at: int, counts: Counts) -> dict[str, float]:
        then, before = next(it for it in self._seen if it[0] >= at - OVER)
        if then == at:
            return {}
        return {name: (getattr(counts, name) - getattr(before, name)) * 1_000 / (at - then) for name in EVENTS}
