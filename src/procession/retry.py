"""Whether and when a failed attempt is followed by another: a policy and nothing else. Pure; called by the executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol

from msgspec import Struct
from msgspec.structs import force_setattr

from procession.clock import milliseconds
from procession.errors import ConfigError

LONGEST_DELAY = 7 * 24 * 3600 * 1000
"""Milliseconds: no wait between two runs is longer."""

MOST_BASE = 1_000
"""Its 64th power is still a number."""


class Random(Protocol):
    """The one method of `random.Random` that a backoff needs."""

    def uniform(self, a: float, b: float, /) -> float: ...


def chance() -> Random:
    """The generator of this process."""
    import random  # workers have loaded it; a program that only enqueues draws nothing, and starts sooner

    return random


def exponential(
    first: float | str | timedelta = 1.0, cap: float | str | timedelta = 600.0, base: float = 2.0
) -> Callable[[int], float]:
    """The wait before the n-th retry: `first`, then `base` times as long each time, never above `cap`. Raises
    ConfigError for a `base` that is not above 0, or over 1,000."""
    if not isinstance(base, int | float) or not 0 < base <= MOST_BASE:
        raise ConfigError(f"base={base!r} must be a number above 0, at most {MOST_BASE:,}; 2 doubles each wait")
    start, most = _seconds(first), _seconds(cap)
    return lambda retry: min(most, start * base ** min(retry - 1, 64))


def linear(first: float | str | timedelta = 10.0, cap: float | str | timedelta = 600.0) -> Callable[[int], float]:
    """The wait before the n-th retry: `n * first`, never above `cap`."""
    start, most = _seconds(first), _seconds(cap)
    return lambda retry: min(most, start * retry)


def steps(*waits: float | str | timedelta) -> Callable[[int], float]:
    """One wait after another, as written; the last one stays. Raises ConfigError without any."""
    if not waits:
        raise ConfigError("steps() needs at least one wait, such as steps(1, 10, 60)")
    seconds = [_seconds(it) for it in waits]
    return lambda retry: seconds[min(retry, len(seconds)) - 1]


def constant(wait: float | str | timedelta) -> Callable[[int], float]:
    """The same wait before every retry."""
    seconds = _seconds(wait)
    return lambda _retry: seconds


def _seconds(wait: float | str | timedelta) -> float:
    return milliseconds(wait, "backoff") / 1_000


class Retry(Struct, frozen=True, kw_only=True):
    """The policy: how many runs, how long between them, for which errors.

    `attempts` counts runs, so 1 means "no retry". A wait is drawn evenly between zero and what `backoff` says ("full
    jitter" of the AWS Architecture Blog's "Exponential Backoff And Jitter"), so that what failed together is not
    retried together. An error that says how long to wait (`retry_after`, a Retry-After header) is obeyed instead, up to
    a day.

    Raises ConfigError where no run could be judged by it.
    """

    attempts: int = 5
    backoff: Callable[[int], float | str | timedelta] = exponential()
    """How long to wait after run number n: seconds, a timedelta, or text such as "5m"."""
    on: tuple[type[BaseException], ...] = (Exception,)
    """Errors that are retried …"""
    never: tuple[type[BaseException], ...] = ()
    """… unless they are one of these."""
    jitter: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or isinstance(self.attempts, bool) or self.attempts < 1:
            raise ConfigError(
                f"attempts={self.attempts!r} must be a whole number, at least 1; Retry(attempts=1) means no retry"
            )
        if not callable(self.backoff):
            raise ConfigError(f"backoff={self.backoff!r} is no function of the failed run; write constant(60), say")
        for name in ("on", "never"):
            given = getattr(self, name)
            kinds = tuple(given) if isinstance(given, Iterable) else (given,)
            if not all(isinstance(it, type) and issubclass(it, BaseException) for it in kinds):
                raise ConfigError(f"{name}={given!r} must be classes of exceptions, such as {name}=(OSError,)")
            force_setattr(self, name, kinds)

    @classmethod
    def of(cls, value: Retry | bool | int | None) -> Retry:
        """What a caller may write for `retry=`: a policy, a number of runs, False for one run, True for the default."""
        if isinstance(value, Retry):
            return value
        if value is None or value is True:
            return cls()
        if value is False:
            return cls(attempts=1)
        if isinstance(value, int):
            return cls(attempts=value)
        raise ConfigError(f"retry={value!r} is not a Retry, a number of attempts, True or False")

    def wants(self, error: BaseException) -> bool:
        """True when the policy retries this error, attempts permitting."""
        return isinstance(error, self.on) and not isinstance(error, self.never)

    def delay(self, attempt: int, rng: Random | None = None) -> int:
        """Milliseconds to wait after run number `attempt` failed."""
        said = self.backoff(attempt)
        most = max(0.0, said) * 1_000 if isinstance(said, int | float) else milliseconds(said, "backoff")
        return round(min((rng or chance()).uniform(0, most) if self.jitter else most, LONGEST_DELAY))

    def asked(self, delay: int, rng: Random | None = None) -> int:
        """Milliseconds to wait when the error itself asked for `delay`: never less, and with jitter up to a tenth more,
        so that all who were told the same do not come back at once."""
        return min(round(delay * ((rng or chance()).uniform(1, 1.1) if self.jitter else 1)), LONGEST_DELAY)
