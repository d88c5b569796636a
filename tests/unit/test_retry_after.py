"""How long an error asks to wait, and which waits a policy knows."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from procession import ConfigError, Retry, constant, exponential, linear, steps
from procession.policies import Policies
from procession.retry import LONGEST_DELAY, MOST_BASE
from procession.retry_after import LONGEST_ASKED, asked_delay

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Answered(Exception):
    """An error that holds a server's answer, as HTTP clients raise it."""

    def __init__(self, **headers: str) -> None:
        self.response = type("Response", (), {"headers": {k.replace("_", "-"): v for k, v in headers.items()}})()


class Asking(Exception):
    def __init__(self, retry_after: Any) -> None:
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Asking(2), 2_000),
        (Asking(0.25), 250),
        (Asking(timedelta(minutes=1)), 60_000),
        (Asking("7"), 7_000),
        (Asking("10m"), 600_000),
        (Answered(Retry_After="120"), 120_000),
        (Answered(retry_after="3"), 3_000),
        (Answered(Retry_After="Sun, 01 Mar 2026 12:00:30 GMT"), 30_000),
        (Answered(Retry_After="Sun, 01 Mar 2026 11:00:00 GMT"), 0),
        (Asking(-5), 0),
        (Asking(1e12), LONGEST_ASKED),
    ],
    ids=str,
)
def test_an_error_says_how_long_to_wait(error: Exception, wait: int) -> None:
    assert asked_delay(error, NOW) == wait


@pytest.mark.parametrize(
    "error",
    [ValueError(), Asking(None), Asking("soon"), Asking(True), Asking(math.nan), Answered(), Answered(Retry_After="x")],
    ids=str,
)
def test_what_is_no_time_is_not_obeyed(error: Exception) -> None:
    assert asked_delay(error, NOW) is None


def test_an_error_whose_properties_raise_says_nothing() -> None:
    class Awkward(Exception):
        @property
        def retry_after(self) -> int:
            raise RuntimeError("not now")

    assert asked_delay(Awkward()) is None


def test_what_an_error_asks_is_never_shortened_and_spread_by_a_tenth_at_most() -> None:
    waits = [Retry().asked(10_000, random.Random(seed)) for seed in range(50)]
    assert min(waits) >= 10_000
    assert max(waits) <= 11_000
    assert len(set(waits)) > 40
    assert Retry(jitter=False).asked(10_000) == 10_000


def test_backoffs_grow_as_they_say() -> None:
    assert [linear(10, cap=25)(n) for n in (1, 2, 3)] == [10, 20, 25]
    assert [steps(1, 10, 60)(n) for n in (1, 2, 3, 4)] == [1, 10, 60, 60]
    with pytest.raises(ConfigError, match="at least one wait"):
        steps()


def test_waits_are_written_as_durations_are_everywhere() -> None:
    assert [steps(1, "10s", timedelta(minutes=1))(n) for n in (1, 2, 3)] == [1, 10, 60]
    assert [exponential("1s", cap="3s")(n) for n in (1, 2, 3)] == [1, 2, 3]
    assert (constant("5m")(1), linear("10s", "1m")(9)) == (300, 60)
    with pytest.raises(ConfigError, match="'a while' is not a duration"):
        constant("a while")


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 1.5},
        {"attempts": True},
        {"attempts": "3"},
        {"attempts": 0},
        {"backoff": 60},
        {"backoff": "5m"},
        {"on": "ValueError"},
        {"on": (ValueError, "x")},
        {"on": (int,)},
        {"never": None},
        {"never": [ValueError()]},
    ],
    ids=str,
)
def test_a_policy_that_could_judge_no_run_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Retry(**wrong)


@pytest.mark.parametrize("base", [0, -2, 1e300, float("inf"), float("nan"), "2"])
def test_a_base_that_comes_to_no_wait_is_refused(base: Any) -> None:
    with pytest.raises(ConfigError, match="base="):
        exponential(base=base)


@pytest.mark.parametrize("jitter", [True, False])
def test_a_wait_without_end_is_the_longest_that_there_is(jitter: bool) -> None:
    assert Retry(backoff=lambda _: math.inf, jitter=jitter).delay(1) == LONGEST_DELAY
    assert Retry(backoff=exponential(base=MOST_BASE, cap="1h"), jitter=False).delay(10_000) == 3_600_000


@pytest.mark.parametrize("errors", [ValueError, [ValueError], {ValueError}])
def test_errors_that_are_no_tuple_become_one(errors: Any) -> None:
    assert Retry(on=errors, never=errors) == Retry(on=(ValueError,), never=(ValueError,))
    assert hash(Retry(on=errors)) == hash(Retry(on=(ValueError,)))


def test_the_nearest_policy_wins() -> None:
    policies = Policies()
    policies.retry = Retry(attempts=9)
    policies.by_queue["billing"] = Retry(attempts=7)
    assert policies.retry_of(None, "mail").attempts == 9
    assert policies.retry_of(None, "billing").attempts == 7
    assert policies.retry_of(Retry(attempts=2), "billing").attempts == 2
