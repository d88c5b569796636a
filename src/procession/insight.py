"""Looking back: what happened when, how long jobs waited and ran, and which errors there were.

A part of `Procession` (`client.py`). Each verb stands beside its `_async` twin and is one question whose cost depends
on the number of buckets or groups asked for, never on the number of jobs. What is kept: `database/measures.py`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from msgspec import Struct

from procession.asker import Asker, check_limit
from procession.clock import milliseconds
from procession.database import Operation
from procession.database.measures import (
    EVENTS,
    GROUPS_KEPT,
    HOUR,
    HOURS,
    MINUTE,
    MINUTES,
    RUN,
    WAIT,
    Bucket,
    Counts,
    ErrorGroup,
    Step,
    quantile,
)
from procession.errors import ConfigError

T = TypeVar("T")
Duration = float | str | timedelta


class Percentiles(Struct, frozen=True):
    """In milliseconds: what half, 95 and 99 of a hundred did not exceed. Each at most 19 % off; below 1 ms reads 1."""

    p50: float
    p95: float
    p99: float


class Point(Struct, frozen=True, kw_only=True):
    """What happened in one span of time. A retried attempt counts as `retried`, and its job once more when it ends."""

    at: int
    """When the span begins, milliseconds since the epoch by the store's clock."""
    enqueued: int = 0
    """Not known by name: 0 when a name was asked for."""
    processed: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    depth: float | None = None
    """How many jobs were queued as the minute began (of an hour: on average); None when not known, or by name."""
    wait: Percentiles | None = None
    """From ready to claimed; None when nothing that was claimed has ended."""
    run: Percentiles | None = None


class History(Struct, frozen=True):
    """Points of `step` milliseconds, the oldest first; the last one is the span that runs now."""

    step: int
    points: tuple[Point, ...]


class Insight(Asker):
    """The verbs that look back."""

    def history(self, since: Duration = "1h", *, queue: str | None = None, name: str | None = None) -> History:
        """What happened in the time until now: of a queue, of a job's name, or of all.

        Minutes for up to 24 hours, hours for up to 7 days. Events are counted by the store with each move; what is
        known by name, and all waits and runs, workers tell within seconds, and one that is killed loses its last.

        Raises:
            ConfigError: `since` is longer than 7 days, or both a queue and a name are given.
        """
        step, operation = self._asked(since, queue, name)
        return _history(step, self.ask(operation))

    async def history_async(
        self, since: Duration = "1h", *, queue: str | None = None, name: str | None = None
    ) -> History:
        """See `history`."""
        step, operation = self._asked(since, queue, name)
        return _history(step, await self.ask_async(operation))

    def errors(self, limit: int = 50) -> list[ErrorGroup]:
        """Failed attempts by error, the one seen last first; 500 are kept, for 14 days after they were last seen.

        Raises:
            ConfigError: `limit` is not between 1 and 500.
        """
        return self.ask(self.database.groups(check_limit(limit, GROUPS_KEPT)))

    async def errors_async(self, limit: int = 50) -> list[ErrorGroup]:
        """See `errors`."""
        return await self.ask_async(self.database.groups(check_limit(limit, GROUPS_KEPT)))

    def mute_error(self, fingerprint: str, for_: Duration = "1d") -> bool:
        """Say that this error is known: it is counted on, and whoever shows errors may hide it so long. 0 ends it.
        False when there is no such error."""
        return self.ask(self.database.mute(fingerprint, milliseconds(for_, "for")))

    async def mute_error_async(self, fingerprint: str, for_: Duration = "1d") -> bool:
        """See `mute_error`."""
        return await self.ask_async(self.database.mute(fingerprint, milliseconds(for_, "for")))

    def _asked(self, since: Duration, queue: str | None, name: str | None) -> tuple[Step, Operation[list[Bucket]]]:
        length = milliseconds(since, "since")
        if length > HOURS * HOUR:
            raise ConfigError(f"since={since!r} must be 7 days at most: hours are kept for so long")
        if queue is not None and name is not None:
            raise ConfigError("history takes a queue or a name, not both: they are counted apart")
        step: Step = 60_000 if length <= MINUTES * MINUTE else 3_600_000
        scope = f"q{queue}" if queue is not None else f"n{name}" if name is not None else ""
        return step, self.database.history(step=step, number=max(-(-length // step), 1), scope=scope)


def _history(step: int, buckets: list[Bucket]) -> History:
    return History(step, tuple(_point(it) for it in buckets))


def _point(bucket: Bucket) -> Point:
    events = {name: bucket.events.get(slot, 0) for slot, name in enumerate(EVENTS)}
    wait, run = _percentiles(bucket.histograms, WAIT), _percentiles(bucket.histograms, RUN)
    return Point(at=bucket.at, depth=bucket.depth, wait=wait, run=run, **events)


def _percentiles(counts: Counts, first: int) -> Percentiles | None:
    p50, p95, p99 = (quantile(counts, first, part) for part in (0.5, 0.95, 0.99))
    return None if p50 is None or p95 is None or p99 is None else Percentiles(p50, p95, p99)
