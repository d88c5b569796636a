"""Whether and when a failed attempt is followed by another: a policy and nothing else. Pure; called by the executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from procession.errors import ConfigError

LONGEST_DELAY = 7 * 24 * 3600 * 1000
"""Milliseconds: no wait between two runs is longer."""


class Random(Protocol):
    """The one method of `random.Random` that a backoff needs."""

    def uniform(self, a: float, b: float, /) -> float: ...


def chance() -> Random:
    """The generator of this process."""
    import random  # workers have loaded it; a program that only enqueues draws nothing, and starts sooner

    return random


def exponential(first: float = 1.0, cap: float = 600.0, base: float = 2.0) -> Callable[[int], float]:
    """Seconds before the n-th retry: `first`, then `base` times as long each time, never above `cap`."""
    return lambda retry: min(cap, first * base ** min(retry - 1, 64))


def linear(first: float = 10.0, cap: float = 600.0) -> Callable[[int], float]:
    """Seconds before the n-th retry: `n * first`, never above `cap`."""
    return lambda retry: min(cap, first * retry)


def steps(*seconds: float) -> Callable[[int], float]:
    """One wait after another, as written; the last one stays. Raises ConfigError without any."""
    if not seconds:
        raise ConfigError("steps() needs at least one wait in seconds, such as steps(1, 10, 60)")
    return lambda retry: seconds[min(retry, len(seconds)) - 1]


def constant(seconds: float) -> Callable[[int], float]:
    """The same wait before every retry."""
    return lambda _retry: seconds


class Retry(Struct, frozen=True, kw_only=True):
    """The policy: how many runs, how long between them, for which errors.

    `attempts` counts runs, so 1 means "no retry". A wait is drawn evenly between zero and what `backoff` says ("full
    jitter" of the AWS Architecture Blog's "Exponential Backoff And Jitter"), so that what failed together is not
    retried together. An error that says how long to wait (`retry_after`, a Retry-After header) is obeyed instead, up to
    a day.
    """

    attempts: int = 5
    backoff: Callable[[int], float] = exponential()
    on: tuple[type[BaseException], ...] = (Exception,)
    """Errors that are retried …"""
    never: tuple[type[BaseException], ...] = ()
    """… unless they are one of these."""
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts}: at least one run is needed; Retry(attempts=1) means no retry")

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
        most = max(0.0, self.backoff(attempt)) * 1_000
        return min(round((rng or chance()).uniform(0, most) if self.jitter else most), LONGEST_DELAY)

    def asked(self, delay: int, rng: Random | None = None) -> int:
        """Milliseconds to wait when the error itself asked for `delay`: never less, and with jitter up to a tenth more,
        so that all who were told the same do not come back at once."""
        return min(round(delay * ((rng or chance()).uniform(1, 1.1) if self.jitter else 1)), LONGEST_DELAY)
