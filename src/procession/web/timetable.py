"""The Schedules page: what is due when, what ran last, and what rests.

Loaded by `views.py`. One question for all schedules; the instants shown are reckoned here from their rules, as workers
reckon them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.database import Scheduled
from procession.errors import ConfigError
from procession.schedule import Run, ScheduleInfo
from procession.web.shown import key_of

if TYPE_CHECKING:
    from procession.web.views import Source

SHOWN = 500
"""Schedules on the page, by name; a namespace has 2,000 at most."""
NEXT, LAST = 3, 3
"""Instants to come and runs that were, of each."""


class ScheduleRow(Struct, frozen=True, kw_only=True):
    """One schedule."""

    key: str
    name: str
    job: str
    queue: str
    rule: str
    """When it is due, in plain words, and whose clocks count."""
    next: tuple[int, ...]
    """Instants that are due next, milliseconds since the epoch; none while it rests."""
    runs: tuple[Run, ...]
    """The newest first."""
    paused_at: int
    reason: str
    waiting: bool
    lapsed: bool
    """It stands in code that no worker runs any more, so it rests."""


class Timetable(Struct, frozen=True, kw_only=True):
    """All schedules, as far as the page shows them."""

    at: int
    total: int
    schedules: tuple[ScheduleRow, ...]


async def load_timetable(source: Source, _: Mapping[str, str]) -> Timetable:
    """See `Timetable`."""
    found: Scheduled = await source.app.ask_async(source.app.database.schedules())
    rows = tuple(row(it, found.now) for it in found.schedules[:SHOWN])
    return Timetable(at=found.now, total=len(found.schedules), schedules=rows)


def row(info: ScheduleInfo, now: int) -> ScheduleRow:
    """One schedule as the page shows it; one that this version cannot read is said to be so."""
    lapsed = info.lapsed(now)
    job = queue = ""
    due: tuple[int, ...] = ()
    try:
        schedule = info.schedule
        job, queue, rule = schedule.job, schedule.queue, schedule.describe()
        if info.next_at and not info.paused and not lapsed:
            due = (info.next_at, *islice(schedule.upcoming(max(info.next_at, now)), NEXT - 1))
    except ConfigError as error:
        rule = str(error)
    return ScheduleRow(
        key=key_of(info.name),
        name=info.name,
        job=job,
        queue=queue,
        rule=rule,
        next=due,
        runs=tuple(reversed(info.runs[-LAST:])),
        paused_at=info.paused_at,
        reason=info.reason,
        waiting=info.waiting,
        lapsed=lapsed,
    )
