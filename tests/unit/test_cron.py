"""When rules are due: against a walk through every minute of a year, against croniter, and by name at each change of
clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from procession.cron import DSTS, Cron, Every, at_zone, between, latest, upcoming
from procession.errors import ConfigError

ZONES = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe"]
MINUTE = 60_000
YEAR = 2026


def at(text: str, tz: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp() * 1_000)


def shown(rule: Cron, after: str, number: int) -> list[str]:
    found = islice(upcoming(rule, at(after, rule.tz)), number)
    return [at_zone(it, rule.tz).isoformat(timespec="minutes") for it in found]


QUARTERS = frozenset(range(0, 60, 20))
FACES = {
    "30 2 * * *": ({30}, {2}, True),
    "0,15 1,2 * * *": ({0, 15}, {1, 2}, True),
    "*/20 1-3 * * *": (QUARTERS, {1, 2, 3}, False),
    "10 * * * *": ({10}, set(range(24)), False),
}
"""Minutes and hours that a clock shows when the expression is due, and whether both are named."""


@cache
def year(tz: str) -> list[tuple[int, int, int, int]]:
    """Every minute of a year: the instant, minutes since midnight on the clock, fold, offset in minutes."""
    zone, faces = ZoneInfo(tz), []
    for instant in range(at(f"{YEAR}-01-01T00:00"), at(f"{YEAR + 1}-01-01T00:00"), MINUTE):
        here = datetime.fromtimestamp(instant / 1_000, zone)
        offset = here.utcoffset()
        assert offset is not None
        faces.append((instant, 60 * here.hour + here.minute, here.fold, offset // timedelta(minutes=1)))
    return faces


def walked(expression: str, tz: str, dst: str) -> Iterator[int]:
    """Every instant of a year by what the documentation says: look at the clock each minute, and where it jumps, at
    what it skipped."""
    minutes, hours, fixed = FACES[expression]
    due = {60 * hour + minute for hour in hours for minute in minutes}
    before = year(tz)[0][3]
    for instant, face, fold, offset in year(tz):
        now = face in due and not (fixed and fold and dst in ("once", "skip"))
        if offset > before and fixed and dst in ("once", "twice"):
            now = now or not due.isdisjoint(range(face - (offset - before), face))
        before = offset
        if now:
            yield instant


@pytest.mark.parametrize("expression", FACES)
@pytest.mark.parametrize("dst", DSTS)
@pytest.mark.parametrize("tz", ZONES)
def test_a_year_of_changing_clocks_is_as_a_walk_through_every_minute_says(tz: str, dst: str, expression: str) -> None:
    rule, end = Cron(expression, tz, dst), year(tz)[-1][0]  # type: ignore[arg-type]
    mine = takewhile(lambda it: it <= end, upcoming(rule, year(tz)[0][0] - 1))
    assert [*mine] == [*walked(expression, tz, dst)]


@pytest.mark.parametrize("expression", ["*/15 * * * *", "7 4 * * 1-5", "0 0 1,15 * 3", "30 18 * 2-5 MON", "0 12 L * *"])
def test_a_year_in_utc_is_as_croniter_says(expression: str) -> None:
    begin = datetime(YEAR, 1, 1, tzinfo=UTC)
    other = croniter(expression, begin, day_or=not _either_is_a_star(expression))
    for found in islice(upcoming(Cron(expression), at(f"{YEAR}-01-01T00:00")), 400):
        assert found == round(other.get_next(float) * 1_000)


def _either_is_a_star(expression: str) -> bool:
    fields = expression.split()
    return fields[2].startswith("*") or fields[4].startswith("*")


@pytest.mark.parametrize(
    ("dst", "spring", "autumn"),
    [
        ("once", ["2026-03-29T03:00+02:00"], ["2026-10-25T02:30+02:00"]),
        ("skip", [], ["2026-10-25T02:30+02:00"]),
        ("twice", ["2026-03-29T03:00+02:00"], ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
        ("wall", [], ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
    ],
)
def test_what_a_fixed_time_does_where_clocks_change_is_a_choice(
    dst: str, spring: list[str], autumn: list[str]
) -> None:
    rule = Cron("30 2 * * *", "Europe/Paris", dst)  # type: ignore[arg-type]
    assert shown(rule, "2026-03-28T12:00", len(spring) + 1) == [*spring, "2026-03-30T02:30+02:00"]
    assert shown(rule, "2026-10-24T12:00", len(autumn) + 1) == [*autumn, "2026-10-26T02:30+01:00"]


def test_a_gap_of_half_an_hour_is_filled_once() -> None:
    rule = Cron("5,20,45 2 * * *", "Australia/Lord_Howe")
    assert shown(rule, "2026-10-03T12:00", 3) == [
        "2026-10-04T02:30+11:00",
        "2026-10-04T02:45+11:00",
        "2026-10-05T02:05+11:00",
    ]


def test_a_rule_with_a_star_in_minute_or_hour_runs_in_real_time() -> None:
    rule = Cron("*/15 * * * *", "Europe/Paris")
    for day in ("2026-03-28T23:00", "2026-10-24T23:00"):
        found = [*islice(upcoming(rule, at(day)), 40)]
        assert {b - a for a, b in pairwise(found)} == {15 * MINUTE}


def test_a_period_is_elapsed_time_whatever_clocks_do() -> None:
    day = Every(24 * 60 * MINUTE)
    found = [*islice(upcoming(day, at("2026-03-27T12:00")), 4)]
    assert {b - a for a, b in pairwise(found)} == {24 * 60 * MINUTE}
    assert Every(90_000).next_after(89_999) == 90_000
    assert Every(90_000).next_after(90_000) == 180_000


def test_seconds_stand_in_front() -> None:
    assert [*islice(upcoming(Cron("*/20 * * * * *"), 999), 3)] == [20_000, 40_000, 60_000]


DAILY = Cron("30 2 * * *", "Europe/Paris")


@pytest.mark.parametrize("rule", [DAILY, Cron("*/7 * * * * *"), Every(90_000)])
def test_the_latest_instants_are_found_without_a_walk(rule: Cron | Every) -> None:
    until = at("2026-11-03T12:00:03")
    begin = until - (40 * 24 if rule == DAILY else 1) * 3600 * 1_000
    walked = [*takewhile(lambda it: it <= until, upcoming(rule, begin))][-30:]
    assert latest(rule, 0, until) == walked[-1]
    assert between(rule, 0, until, 30) == (walked, True)
    assert between(rule, walked[-3], until, 30) == (walked[-2:], False)
    assert latest(rule, walked[-1], until) is None
    assert between(rule, walked[-1], until, 30) == ([], False)


def test_rules_are_told_in_plain_words() -> None:
    assert Cron("@daily", "Europe/Paris").describe() == "At 00:00 every day, Europe/Paris"
    assert Cron("0 9 * * MON#2").describe() == "At 09:00 on the second Monday of the month, UTC"
    assert Every(5_400_000).describe() == "Every 1 h 30 m"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("61 * * * *",), "Bad minute"),
        (("* * *",), "Wrong number of fields"),
        (("0 0 31 2 *",), "Bad day-of-month"),
        (("0 0 * * *", "Mars/Olympus"), "no time zone known here"),
        (("0 0 * * *", "UTC", "never"), "dst='never' must be one of"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Cron(*words)  # type: ignore[arg-type]


def test_a_period_below_a_second_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least a second"):
        Every(999)
