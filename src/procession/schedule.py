"""A schedule as a record, and what to do when it is due: which instants run, what was missed, when it is due next.

Pure. The record is stored as JSON that a person can read. Callers: `schedules.py` (the verbs of an application),
`runtime/scheduling.py` (queue workers, who all look and of whom one gets to fire), the databases, who store what is
decided here. Whether a decision still holds is checked by the store, in one step with the jobs that it inserts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from procession.codec import encode_spec
from procession.cron import Cron, Dst, Every, Rule, between, upcoming, zone
from procession.errors import ConfigError, Sealed
from procession.job import NewJob, Spec, SpecOptions, jid_of
from procession.limits import slot_of
from procession.sealing import PREFIX, Sealing, Timed, is_sealed

Missed = Literal["skip", "once", "all"]
"""What becomes of instants that passed while no worker looked: none of them runs, the last one, or all."""
Overlap = Literal["allow", "skip", "queue_one", "cancel_previous"]
"""What becomes of an instant while a run before it is not finished: it runs beside it, it does not run, one waits until
the other has finished, or the other is cancelled."""

LATE = 60_000
"""Milliseconds after which an instant that nobody saw counts as missed, for `skip`."""
CATCH_UP = 100
"""Most missed instants that `all` makes up for."""
LAPSE = 300_000
"""A schedule declared in code rests when no worker has declared it for this long, in milliseconds …"""
FORGOTTEN = 14 * 24 * 3600 * 1000
"""… and is removed after this long."""
KEPT = 30
"""Runs kept in a schedule's history."""
MOST = 2_000
"""Most schedules of one namespace."""


class Schedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is run when. Exactly one of `cron` and `every` (milliseconds) is set; other times are milliseconds, too.

    Raises:
        ConfigError: a rule or a promise that cannot be kept.
    """

    name: str
    job: str
    """The stable name of a job function or worker class."""
    cron: str = ""
    every: int = 0
    tz: str = "UTC"
    dst: Dst = "once"
    args: Raw = Raw(b"{}")
    """A JSON object: parameter name -> encoded value."""
    queue: str = "default"
    priority: int = 0
    attempts: int | None = None
    timeout: int | None = None
    expires: int = 0
    deadline: int = 0
    """For all attempts of a run together, from its enqueue; 0 for none."""
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    """What each run has beside its arguments."""
    missed: Missed = "once"
    catch_up: int = CATCH_UP
    overlap: Overlap = "allow"
    limit: str = ""
    """The limit that its runs come under, as text, and how many slots that has."""
    slots: int = 0
    jitter: int = 0
    """A run is put off by a part of this, the same for every worker that looks."""
    v: int = 1

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 200 or not self.name.isprintable():
            raise ConfigError(f"schedule name {self.name!r} must be 1 to 200 printable characters")
        if bool(self.cron) == bool(self.every):
            raise ConfigError(f"schedule {self.name!r} needs cron= or every=, one of them")
        if self.missed == "all" and self.overlap != "allow":
            raise ConfigError(f"missed='all' starts several runs at once, which overlap={self.overlap!r} forbids")
        if not 1 <= self.catch_up <= CATCH_UP:
            raise ConfigError(f"catch_up={self.catch_up} must lie between 1 and {CATCH_UP}")
        zone(self.tz)  # also with every=: its instants are shown by these clocks
        rule_of(self.cron, self.every, self.tz, self.dst)

    @property
    def rule(self) -> Rule:
        """When it is due."""
        return rule_of(self.cron, self.every, self.tz, self.dst)

    def describe(self) -> str:
        """When it is due, in plain words."""
        return self.rule.describe()

    def upcoming(self, after: int) -> Iterator[int]:
        """The instants later than `after`, in milliseconds since the epoch; paused or not."""
        return upcoming(self.rule, after)

    def opened(self, sealing: Sealing | None) -> Schedule:
        """The same with its arguments in plain. Raises ConfigError when they are sealed and cannot be opened here."""
        if not is_sealed(self.args) and not self.limit.startswith(PREFIX):
            return self
        if sealing is None:
            raise ConfigError(f"the args of schedule {self.name!r} are sealed; this app has no codec=")
        try:
            whose = Timed(self.name, self.job)
            limit = sealing.open_text(self.limit, whose, "limit")
            return replace(self, args=Raw(sealing.open(self.args, whose, "args")), limit=limit)
        except Sealed as error:
            raise ConfigError(str(error)) from error

    def run(self, slot: int, jid: UUID | None = None, sealing: Sealing | None = None) -> NewJob:
        """The job of one instant, its arguments sealed for it; here they are in plain. Its jid follows from name and
        instant, so that inserting it twice makes one job."""
        its = jid or run_jid(self.name, slot)
        args = self.args if sealing is None else Raw(sealing.seal(bytes(self.args), its, "args"))
        limit = self.limit if sealing is None else sealing.seal_text(self.limit, its, "limit")
        asked = SpecOptions(
            attempts=self.attempts, timeout=self.timeout, tags=self.tags, headers=self.headers, limit=limit
        )
        chance = _digest(self.name, slot)
        return NewJob(
            jid=its,
            spec=encode_spec(Spec(self.job, args, asked)),
            queue=self.queue,
            priority=self.priority,
            at=slot + chance % (self.jitter + 1) if jid is None else 0,
            expires_in=self.expires,
            deadline=self.deadline,
            slot=slot_of(self.limit, self.slots) if self.limit else None,
        )


def schedule_of(fields: Mapping[str, Any]) -> Schedule:
    """A schedule of these fields, each of the type that it is read with later. Raises ConfigError."""
    for what, known in (("dst", Dst), ("missed", Missed), ("overlap", Overlap)):
        if what in fields and fields[what] not in get_args(known):
            raise ConfigError(f"{what}={fields[what]!r} must be one of {', '.join(get_args(known))}")
    try:
        return msgspec.convert(fields, Schedule)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(f"schedule {fields['name']!r}: {error}".replace("`$.", "`")) from None


@lru_cache(maxsize=10_000)
def rule_of(cron: str, every: int, tz: str, dst: Dst) -> Rule:
    """The rule behind the fields of a schedule. Raises ConfigError."""
    return Cron(cron, tz, dst) if cron else Every(every)


def _digest(name: str, slot: int) -> int:
    from hashlib import blake2b  # as in `unique.digest`

    return int.from_bytes(blake2b(f"{slot} {name}".encode(), digest_size=10).digest(), "big")


def run_jid(name: str, slot: int) -> UUID:
    """The jid of a run: a UUIDv8 (RFC 9562) of 48 bits of milliseconds, so that ids sort by time, and a digest."""
    return jid_of(slot << 80 | _digest(name, slot) & _CHANCE | _VERSION_AND_VARIANT)


_VERSION_AND_VARIANT = 0x8 << 76 | 0x2 << 62
_CHANCE = ((1 << 80) - 1) & ~(0xF << 76 | 0x3 << 62)


class Run(Struct, frozen=True, array_like=True):
    """One line of a schedule's history."""

    at: int
    """The instant that was due."""
    jid: str = ""
    """The job, "" when there was none."""
    note: str = ""
    """"" for a run on time; `skipped` (the one before was not finished), `missed N`, `by hand`, `backfill`."""


class ScheduleInfo(Struct, frozen=True, kw_only=True):
    """A schedule as the store holds it now. Times are milliseconds since the epoch by the store's clock, 0 for none."""

    name: str
    asked: bytes
    """What was asked for, as stored."""
    next_at: int = 0
    last_at: int = 0
    """The last instant that was decided."""
    waiting: bool = False
    """A run waits for the one before it to finish."""
    paused_at: int = 0
    reason: str = ""
    declared_at: int = 0
    """When a worker last declared it; 0 for one that was made at run time."""
    runs: tuple[Run, ...] = ()
    """The last 30, the oldest first."""

    @property
    def schedule(self) -> Schedule:
        """What was asked for. Raises ConfigError when this version cannot read it."""
        try:
            return _decoder().decode(self.asked)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"schedule {self.name!r} cannot be read by this version: {error}") from error

    @property
    def paused(self) -> bool:
        """True when nothing is due until it is resumed."""
        return self.paused_at > 0

    def lapsed(self, now: int) -> bool:
        """True when it was declared in code and no worker declares it any more: it rests."""
        return 0 < self.declared_at < now - LAPSE


@cache
def _decoder() -> msgspec.json.Decoder[Schedule]:
    return msgspec.json.Decoder(Schedule)


class Planned(Struct, frozen=True):
    """A schedule on its way into the store."""

    name: str
    asked: bytes
    next_at: int
    """When it is first due; 0 for never."""


class Firing(Struct, frozen=True, kw_only=True):
    """What a look at a due schedule came to: jobs to insert if nobody did so before."""

    name: str
    asked: bytes
    """The schedule as it was read; once it reads otherwise, this counts no more."""
    expected: int = 0
    """The instant that it was due at when it was read, likewise; 0 for runs that a person asked for."""
    next_at: int = 0
    """When it is due next."""
    overlap: Overlap = "allow"
    runs: tuple[tuple[Run, NewJob], ...] = ()
    missed: Run | None = None


def planned(
    schedule: Schedule, now: int, sealing: Sealing | None = None, there: Sequence[ScheduleInfo] = ()
) -> Planned:
    """A schedule from now on: whatever was due until now is not made up for.

    Sealing the same twice never comes to the same bytes. So with a chain, `there` tells what is stored, and what says
    the same as this is left as it stands: the store then sees that nothing was changed.
    """
    asked = msgspec.json.encode(schedule)
    if sealing is not None:
        whose = Timed(schedule.name, schedule.job)
        args = Raw(sealing.seal(bytes(schedule.args), whose, "args"))
        limit = sealing.seal_text(schedule.limit, whose, "limit")
        same = (it.asked for it in there if it.name == schedule.name and _is_sealed_as(it, asked, sealing))
        asked = next(same, None) or msgspec.json.encode(replace(schedule, args=args, limit=limit))
    return Planned(schedule.name, asked, schedule.rule.next_after(now) or 0)


def _is_sealed_as(info: ScheduleInfo, asked: bytes, sealing: Sealing) -> bool:
    try:
        stored = info.schedule
        return is_sealed(stored.args) and msgspec.json.encode(stored.opened(sealing)) == asked
    except ConfigError:
        return False


def planned_again(info: ScheduleInfo, now: int) -> Planned:
    """The same for one that is stored. Raises ConfigError when this version cannot read it."""
    return Planned(info.name, info.asked, info.schedule.rule.next_after(now) or 0)


def due(info: ScheduleInfo, now: int, sealing: Sealing | None = None) -> Firing:
    """What to do about a schedule that is due. Raises ConfigError when this version cannot read or open it."""
    schedule = info.schedule.opened(sealing)
    slots, more = between(schedule.rule, info.next_at - 1, now, schedule.catch_up)
    last = slots[-1:]
    if schedule.missed == "all":
        wanted = slots
    elif schedule.missed == "once" or info.waiting or (last and now - last[0] <= LATE):
        wanted = last
    else:
        wanted = []
    passed = len(slots) - len(wanted)
    note = f"missed at least {passed + 1}" if more else f"missed {passed}" if passed else ""
    return Firing(
        name=info.name,
        asked=info.asked,
        expected=info.next_at,
        next_at=schedule.rule.next_after(max(now, info.next_at)) or 0,
        overlap=schedule.overlap,
        runs=tuple(_run(schedule, slot, sealing) for slot in wanted),
        missed=Run(slots[0], note=note) if note else None,
    )


def by_hand(info: ScheduleInfo, now: int, jid: UUID, sealing: Sealing | None = None) -> Firing:
    """One run more, now, whatever runs or is due."""
    job = info.schedule.opened(sealing).run(now, jid, sealing)
    return Firing(name=info.name, asked=info.asked, runs=((Run(now, str(jid), "by hand"), job),))


def backfill(info: ScheduleInfo, after: int, until: int, sealing: Sealing | None = None) -> Firing:
    """A run for each instant in (after, until]; where the job of one is still in the store, it stays as it is.

    Raises:
        ConfigError: these are more than 100.
    """
    schedule = info.schedule.opened(sealing)
    slots = [*islice(schedule.upcoming(after), CATCH_UP + 1)]
    if len(slots) > CATCH_UP and slots[-1] <= until:
        raise ConfigError(f"more than {CATCH_UP} instants lie between these moments; fill in a shorter time")
    runs = tuple(_run(schedule, slot, sealing, "backfill") for slot in slots if slot <= until)
    return Firing(name=info.name, asked=info.asked, runs=runs)


def _run(schedule: Schedule, slot: int, sealing: Sealing | None, note: str = "") -> tuple[Run, NewJob]:
    job = schedule.run(slot, sealing=sealing)
    return Run(slot, str(job.jid), note), job
