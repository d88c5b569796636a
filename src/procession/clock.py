"""Time: durations and instants as callers write them, in milliseconds as the store counts them.

The one reader of a clock outside the stores. Instants compared with each other always come from the store;
what is measured here is elapsed time. Nothing else calls `time.time`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from procession.errors import ConfigError

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = rf"({_NUMBER})\s*(ms|s|m|h|d|w)"
_WHOLE = rf"(?:{_PART}\s*)+"

LONGEST = 10 * 366 * UNITS["d"]
"""Longest duration that is taken, ten years: anything above is a mistake of units."""


def milliseconds(value: float | str | timedelta, what: str = "duration") -> int:
    """A duration as whole milliseconds: a `timedelta`, seconds as a number, or text such as "5m", "1h30m" or "90".

    >>> milliseconds("1h30m"), milliseconds(0.25), milliseconds("90"), milliseconds(timedelta(days=1))
    (5400000, 250, 90000, 86400000)

    Raises:
        ConfigError: negative, longer than ten years, or not a duration.
    """
    result: float
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        value = float(value)
    if isinstance(value, timedelta):
        result = value.total_seconds() * 1_000
    elif isinstance(value, int | float) and not isinstance(value, bool):
        result = value * 1_000
    elif isinstance(value, str) and re.fullmatch(_WHOLE, value.strip()):
        result = sum(float(number) * UNITS[unit] for number, unit in re.findall(_PART, value))
    else:
        raise ConfigError(
            f'{what} {value!r} is not a duration; write seconds, a timedelta, or text such as "5m" or "1h30m"'
        )
    if not 0 <= result <= LONGEST:
        raise ConfigError(f"{what} {value!r} must lie between 0 and ten years")
    return round(result)


def spelled(duration: int) -> str:
    """Milliseconds above 0 as a text that `milliseconds` reads as the same.

    >>> spelled(5_400_000), spelled(1_500)
    ('1 h 30 m', '1 s 500 ms')
    """
    words = []
    for unit in ("d", "h", "m", "s", "ms"):
        number, duration = divmod(duration, UNITS[unit])
        if number:
            words.append(f"{number} {unit}")
    return " ".join(words)


def lasting(value: float | str | timedelta, what: str) -> int:
    """The same for one that means nothing when it is over at once. Raises ConfigError for 0, too."""
    result = milliseconds(value, what)
    if not result:
        raise ConfigError(f"{what}={value!r} must be longer than nothing; leave it out for none")
    return result


def instant(value: datetime, what: str = "at") -> int:
    """A moment as milliseconds since the epoch. Raises ConfigError for a datetime without a time zone."""
    if not isinstance(value, datetime):
        raise ConfigError(f"{what} {value!r} is not a datetime")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ConfigError(f"{what} {value.isoformat()} has no time zone; write datetime(…, tzinfo=UTC)")
    return round(value.timestamp() * 1_000)


def wall() -> int:
    """This machine's clock in milliseconds since the epoch, for the memory database and for what is only shown."""
    return time.time_ns() // 1_000_000


_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # on macOS the latter counts sleep, too

monotonic: Callable[[], float] = partial(time.clock_gettime, _ELAPSED)
"""Seconds that only rise, to measure what elapses; time for which the machine was suspended is counted.

Timers of an event loop do not count it: what they were set for comes that much late. A queue worker therefore
compares this clock with what it has due once a second, by its pulse.
"""


SLOWEST = 625_000
"""Bytes a second, 5 Mbit/s: what flows no slower is no silence, however much there is of it."""


class Deadline:
    """A moment until which something may take its time, by the clock that only rises."""

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; raises TimeoutError when there are none."""
        left = self.at - monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left

    def moved(self, count: int) -> None:
        """So many bytes came or went: they may take their time, as long as it is that of a link of 5 Mbit/s."""
        self.at += count / SLOWEST

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens within."""
        since = monotonic()
        try:
            yield
        finally:
            self.at += monotonic() - since
