"""The page of one schedule: its rule in words, what is due (and what a change of clocks does to it), and its last runs.

Loaded by `views.py`. What its forms do is in `planner.py`. Instants are reckoned here from the rule, as workers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from procession.clock import UNITS
from procession.cron import at_zone, latest, next_change, zone
from procession.errors import ConfigError
from procession.schedule import CATCH_UP, KEPT, Run, Schedule, ScheduleInfo
from procession.web.shown import key_of
from procession.web.timetable import ScheduleRow, row

if TYPE_CHECKING:
    from procession.web.views import Source

NEXT = 8
"""Instants that are due next, and"""
BEFORE, AFTER = 2, 3
"""so many before and after the next change of clocks."""
ENDS = 3
"""Instants of a backfill that its preview names, first and last."""


class Slot(Struct, frozen=True, kw_only=True):
    """One instant that is due, by the schedule's own clocks, too."""

    key: str
    at: int
    there: str
    note: str = ""


class RunRow(Struct, frozen=True):
    """One run that was."""

    key: str
    run: Run


class Backfill(Struct, frozen=True, kw_only=True):
    """What a backfill would enqueue."""

    after: str
    until: str
    count: int = 0
    """At most 101: more than 100 are refused."""
    slots: tuple[Slot, ...] = ()
    """The first and the last ones."""
    trouble: str = ""


class Fields(Struct, frozen=True, kw_only=True):
    """A schedule as a form has it: every value as text."""

    schedule: str = ""
    job: str = ""
    queue: str = ""
    args: str = "{}"
    cron: str = ""
    every: str = ""
    tz: str = "UTC"
    dst: str = "once"
    missed: str = "once"
    overlap: str = "allow"
    jitter: str = ""
    was: str = ""
    """What was stored when the form was made, as a digest: an edit of something else since is not overwritten."""


class OneSchedule(Struct, frozen=True, kw_only=True):
    """See above; `rows` is empty when there is no such schedule, as for one that is to be made."""

    at: int
    schedule: str
    """Its name, "" for one that is to be made."""
    rows: tuple[ScheduleRow, ...]
    slots: tuple[Slot, ...]
    runs: tuple[RunRow, ...]
    tz: str
    declared: bool
    """It stands in code, so code wins over an edit when a worker begins."""
    fields: Fields
    jobs: tuple[str, ...]
    """Names of jobs that this app knows."""
    backfill: Backfill | None = None
    trouble: str = ""


async def load_schedule(source: Source, params: Mapping[str, str]) -> OneSchedule:
    """See `OneSchedule`."""
    name, jobs = params.get("schedule", ""), tuple(source.app.registry.names())
    now = await source.app.ask_async(source.app.database.clock())
    info = await source.app.schedules.find_async(name) if name else None
    if info is None:
        fields = Fields(schedule=name)
        return OneSchedule(
            at=now, schedule=name, rows=(), slots=(), runs=(), tz="UTC", declared=False, fields=fields, jobs=jobs
        )
    tz, fields, shown = "UTC", Fields(schedule=name), row(info, now)
    slots: tuple[Slot, ...] = ()
    backfill: Backfill | None = None
    try:
        schedule = info.schedule
        tz, fields = schedule.tz, fields_of(schedule, info)
        slots = slots_of(schedule, info, now) if shown.next else ()
        backfill = previewed(schedule, params.get("after", ""), params.get("until", ""))
    except ConfigError:
        pass  # the row says it
    return OneSchedule(
        at=now,
        schedule=name,
        rows=(shown,),
        slots=slots,
        runs=tuple(RunRow(key_of(f"{it.at} {it.jid} {it.note}"), it) for it in reversed(info.runs[-KEPT:])),
        tz=tz,
        declared=info.declared_at > 0,
        fields=fields,
        jobs=jobs,
        backfill=backfill,
    )


def fields_of(schedule: Schedule, info: ScheduleInfo) -> Fields:
    """A schedule as the form that edits it shows it."""
    return Fields(
        schedule=schedule.name,
        job=schedule.job,
        queue=schedule.queue,
        args=msgspec.json.format(bytes(schedule.args), indent=2).decode(),
        cron=schedule.cron,
        every=exact(schedule.every),
        tz=schedule.tz,
        dst=schedule.dst,
        missed=schedule.missed,
        overlap=schedule.overlap,
        jitter=exact(schedule.jitter),
        was=key_of(info.asked),
    )


def exact(milliseconds: int) -> str:
    """A duration as a form has it, in the largest unit that leaves nothing over; "" for none.

    >>> exact(5_400_000), exact(1_209_600_000), exact(1_500), exact(0)
    ('90m', '14d', '1500ms', '')
    """
    fitting = (unit for unit in ("d", "h", "m", "s", "ms") if milliseconds % UNITS[unit] == 0)
    unit = next(fitting)
    return f"{milliseconds // UNITS[unit]}{unit}" if milliseconds else ""


def slots_of(schedule: Schedule, info: ScheduleInfo, now: int) -> tuple[Slot, ...]:
    """What is due next; and, where it comes later, what is due around the next change of clocks."""
    following = schedule.upcoming(max(info.next_at, now))
    found = [info.next_at, *islice(following, NEXT - 1)]
    slots = [slot(schedule, at) for at in found]
    change = next_change(schedule.tz, now) if schedule.cron else None
    if change is None:
        return tuple(slots)
    words = told(change, schedule.tz)
    if change <= found[-1]:
        after = next(at for at, it in enumerate(found) if it >= change)
        slots[after] = slot(schedule, found[after], words)
        return tuple(slots)
    before = [*reversed([*islice(_backwards(schedule, found[-1], change - 1), BEFORE)])]
    after_it = [*islice(schedule.upcoming(change - 1), AFTER)]
    return (
        *slots,
        *(slot(schedule, at, "…" if number == 0 else "") for number, at in enumerate(before)),
        *(slot(schedule, at, words if number == 0 else "") for number, at in enumerate(after_it)),
    )


def _backwards(schedule: Schedule, after: int, until: int) -> Iterator[int]:
    found = latest(schedule.rule, after, until)
    while found is not None:
        yield found
        found = latest(schedule.rule, after, found - 1)


def slot(schedule: Schedule, at: int, note: str = "") -> Slot:
    """One instant as the page shows it."""
    return Slot(key=str(at), at=at, there=at_zone(at, schedule.tz).strftime("%a %Y-%m-%d %H:%M:%S %z"), note=note)


def told(change: int, tz: str) -> str:
    """A change of clocks in words."""
    before, after = at_zone(change - 1_000, tz), at_zone(change, tz)
    way = "forward" if (after.utcoffset() or before.utcoffset()) > (before.utcoffset() or after.utcoffset()) else "back"  # type: ignore[operator]
    return f"clocks go {way} to {after.strftime('%H:%M on %Y-%m-%d')}"


def previewed(schedule: Schedule, after: str, until: str) -> Backfill | None:
    """What a backfill between two moments, as text by the schedule's clocks, would enqueue."""
    if not after and not until:
        return None
    try:
        begin, end = (instant_of(it, schedule.tz, name) for it, name in ((after, "after"), (until, "until")))
    except ConfigError as error:
        return Backfill(after=after, until=until, trouble=str(error))
    first, last = (round(it.timestamp() * 1_000) for it in (begin, end))
    slots = [at for at in islice(schedule.upcoming(first), CATCH_UP + 1) if at <= last]
    named = slots if len(slots) <= 2 * ENDS else [*slots[:ENDS], *slots[-ENDS:]]
    trouble = f"More than {CATCH_UP} instants lie between these moments; choose a shorter time."
    return Backfill(
        after=after,
        until=until,
        count=len(slots),
        slots=tuple(slot(schedule, at) for at in named),
        trouble=trouble if len(slots) > CATCH_UP else "",
    )


def instant_of(text: str, tz: str, name: str) -> datetime:
    """A moment as a form tells it, by the clocks of a zone where it names no offset. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone(tz))
    except ValueError:
        moment = None
    if moment is None or not 1970 < moment.year < 9999:
        raise ConfigError(f"{name}={text!r} is no moment; write one such as 2026-03-01T09:30")
    return moment
