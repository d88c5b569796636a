"""When a schedule is due: cron expressions in a time zone, and fixed periods. Pure arithmetic on instants.

Called by `schedule.py`. Instants are milliseconds since the epoch; nothing here reads a clock, and the zone of the
machine never counts. `cronsim` reads the expression and walks on a clock without a zone; what happens where clocks
change is decided here, because only so can it be chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from procession.clock import spelled
from procession.errors import ConfigError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

Dst = Literal["once", "skip", "twice", "wall"]
"""What a rule for fixed times of day does where clocks change.

| | a time that does not exist | a time that comes twice |
|---|---|---|
| `once` | runs at the first moment after the gap | runs at the first of the two |
| `skip` | does not run that day | runs at the first of the two |
| `twice` | runs at the first moment after the gap | runs at both |
| `wall` | does not run that day | runs at both |

A rule whose hour or minute begins with `*` always goes by `wall`, so that `*/15 * * * *` runs each real quarter of an
hour. That is the distinction of Debian's cron(8).
"""
DSTS: tuple[Dst, ...] = ("once", "skip", "twice", "wall")
SHORTEST = 1_000
"""Shortest period, in milliseconds."""
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # clocks on a wall have no zone
DAY = 86_400


class Rule(Protocol):
    """What tells instants: a `Cron` or an `Every`."""

    def next_after(self, instant: int) -> int | None:
        """The first instant later than this one; None when there is none within 50 years."""
        ...

    def describe(self) -> str:
        """The rule in plain words."""
        ...


class Cron(Struct, frozen=True):
    """Five fields as in crontab(5), or six with seconds in front, by the clocks of one time zone.

    Names of months and weekdays, `L`, `LW`, `5L`, `MON#2` and nicknames such as `@daily` are understood. When neither
    day field begins with `*`, either may match, as in cron.

    Raises:
        ConfigError: an expression that cannot be read or is never due, a zone that is not known, an unknown policy.
    """

    expression: str
    tz: str = "UTC"
    dst: Dst = "once"

    def __post_init__(self) -> None:
        if self.dst not in DSTS:
            raise ConfigError(f"dst={self.dst!r} must be one of {', '.join(DSTS)}")
        zone(self.tz)
        from cronsim import CronSimError

        try:
            found = next(self._walk(EPOCH), None)
        except CronSimError as error:
            raise ConfigError(
                f"cron expression {self.expression!r}: {error}; write minute hour day month weekday, seconds in front"
            ) from None
        if found is None:
            raise ConfigError(f"cron expression {self.expression!r} is never due")

    @property
    def fields(self) -> str:
        """The expression without nickname."""
        return NICKNAMES.get(self.expression.strip().lower(), self.expression)

    @property
    def of_fixed_times(self) -> bool:
        """True when hour and minute are named, so that what clocks skip or repeat is a matter of choice."""
        minute, hour = self.fields.split()[-5:-3]
        return not minute.startswith("*") and not hour.startswith("*")

    def next_after(self, instant: int) -> int | None:
        """See `Rule.next_after`. Whole seconds.

        Between two changes of the zone's offset this is a walk on the clock's face. Where the walk would cross a
        change, it stops there, looks at what the change skipped or repeats, and goes on with the new offset.
        """
        tz, fixed = zone(self.tz), self.of_fixed_times
        fills_gap = fixed and self.dst in ("once", "twice")
        first_only = fixed and self.dst in ("once", "skip")
        after = since = instant // 1_000
        offset = _offset(tz, since)
        while True:
            face = self._next_on_face(after + offset)
            if face is None:
                return None
            change = _change(tz, since, face - offset)
            if change is None:
                found = face - offset
                if not (first_only and datetime.fromtimestamp(found, tz).fold):
                    return found * 1_000
                after = since = found
                continue
            before, offset = offset, _offset(tz, change)
            if fills_gap and face < change + offset and before < offset:
                return change * 1_000
            after, since = change - 1, change

    def describe(self) -> str:
        """See `Rule.describe`."""
        return f"{self._walk(EPOCH).explain()}, {self.tz}"

    def _walk(self, since: datetime) -> CronSim:
        from cronsim import CronSim  # only where there is a schedule

        return CronSim(self.fields, since)

    def _next_on_face(self, seconds: int) -> int | None:
        try:
            found = next(self._walk(EPOCH + timedelta(seconds=seconds)), None)
        except OverflowError:  # the year 9999
            return None
        return None if found is None else round((found - EPOCH).total_seconds())


class Every(Struct, frozen=True):
    """A fixed period of elapsed time, in milliseconds; counted from the epoch, so that every machine means the same.

    Raises:
        ConfigError: shorter than a second.
    """

    period: int

    def __post_init__(self) -> None:
        if self.period < SHORTEST:
            raise ConfigError(f"every={self.period} ms must be at least a second")

    def next_after(self, instant: int) -> int:
        """See `Rule.next_after`."""
        return instant - instant % self.period + self.period

    def describe(self) -> str:
        """See `Rule.describe`."""
        return f"Every {spelled(self.period)}"


def upcoming(rule: Rule, after: int) -> Iterator[int]:
    """Instants later than `after`, in order."""
    found = rule.next_after(after)
    while found is not None:
        yield found
        found = rule.next_after(found)


def latest(rule: Rule, after: int, until: int) -> int | None:
    """The last instant later than `after` and not later than `until`.

    Found by halving, about two looks per doubling of the distance, however many instants lie between.
    """

    def reaches(start: int) -> int | None:
        found = rule.next_after(start)
        return found if found is not None and found <= until else None

    step = SHORTEST
    while (found := reaches(max(after, until - step))) is None:
        if until - step <= after:
            return None
        step *= 2
    while (later := reaches(found)) is not None:
        middle = reaches((found + until) // 2)
        found = middle if middle is not None and middle > later else later
    return found


def between(rule: Rule, after: int, until: int, limit: int) -> tuple[list[int], bool]:
    """The newest `limit` instants later than `after` and not later than `until`, in order, and whether there are
    more."""
    found = [*islice(upcoming(rule, after), limit + 1)]
    if len(found) <= limit or found[-1] > until:
        return [it for it in found if it <= until], False
    newest: list[int] = []
    while len(newest) < limit and (last := latest(rule, after, until)) is not None:
        newest.append(last)
        until = last - 1
    return newest[::-1], True


@lru_cache(maxsize=1_000)
def zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database. Raises ConfigError."""
    from zoneinfo import ZoneInfo  # only where there is a schedule

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ConfigError(
            f"tz={name!r} is no time zone known here; write one such as Europe/Paris, or install tzdata"
        ) from None


def next_change(tz: str, after: int, within: int = 400) -> int | None:
    """The first instant later than this one from which clocks of a zone show another offset, within so many days."""
    found = _change(zone(tz), after // 1_000, after // 1_000 + within * DAY)
    return None if found is None else found * 1_000


def _offset(tz: ZoneInfo, instant: int) -> int:
    """Seconds that clocks of the zone are ahead of UTC."""
    offset = datetime.fromtimestamp(instant, tz).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def _change(tz: ZoneInfo, since: int, until: int) -> int | None:
    """The first instant in (since, until] from which clocks have another offset than at `since`.

    Looks once a day, so that a zone which goes forth and back within a day would be missed; none does.
    """
    if tz.key == "UTC":
        return None
    before = _offset(tz, since)
    while since < until:
        to = min(since + DAY, until)
        if _offset(tz, to) != before:
            while to - since > 1:
                middle = (since + to) // 2
                if _offset(tz, middle) == before:
                    since = middle
                else:
                    to = middle
            return to
        since = to
    return None


def at_zone(instant: int, tz: str = "UTC") -> datetime:
    """An instant as a datetime of a zone, to be shown."""
    return datetime.fromtimestamp(instant / 1_000, UTC).astimezone(zone(tz))
