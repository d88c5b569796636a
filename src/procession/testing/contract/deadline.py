"""A deadline travels with its job: each claim says how much time is left."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from procession.database import Database
from procession.job import State
from procession.limits import Slot
from procession.moves import Move
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import FAILURE, LEASE, claim, new, settle
from procession.unique import Unique

Ask = Callable[..., Any]


LONG = b'["' + b"f" * 2_000 + b'",{}]'


@pytest.mark.parametrize("fields", [{}, {"unique": Unique(key=b"k" * 16)}, {"spec": LONG}])
def test_a_claim_says_how_much_time_is_left(database: Database, ask: Ask, clock: Clock, fields: dict[str, Any]) -> None:
    plain, job = new(), new(deadline=10_000, **fields)
    ask(database.enqueue([plain, job]))
    clock.pass_(3_000)
    first, second = claim(database, ask).jobs
    assert (first.left, second.left, second.jid, second.spec) == (None, 7_000, job.jid, job.spec)
    settle(database, ask, second, Move.RETRY, delay=6_000)
    clock.pass_(6_000)
    ask(database.promote(10))
    clock.pass_(3_000)
    (late,) = claim(database, ask).jobs
    assert (late.jid, late.attempt, late.left) == (job.jid, 2, -2_000)


def test_a_repeated_claim_answers_the_same(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(deadline=10_000), new(deadline=0, queue="other")]))
    token = os.urandom(16)
    again = [ask(database.claim(["other", "mail"], "w", token, limit=5, lease=LEASE)).jobs for _ in range(2)]
    assert [sorted((it.jid, it.queue, it.left or 0) for it in jobs) for jobs in again] == [
        sorted((it.jid, it.queue, it.left or 0) for it in again[0])
    ] * 2


def test_a_job_with_a_deadline_leaves_nothing_behind(database: Database, ask: Ask) -> None:
    job = new(deadline=10_000)
    ask(database.enqueue([job]))
    settle(database, ask, claim(database, ask).jobs[0], Move.PROCESS)
    ask(database.remove([job.jid]))
    ask(database.enqueue([new(deadline=5)]))
    assert ask(database.purge("mail", 10)) == 1


@pytest.mark.parametrize("fields", [{}, {"delay": 60_000}, {"unique": Unique(key=b"k" * 16)}, {"spec": LONG}])
@pytest.mark.parametrize("duty", ["promote", "heartbeat"])
def test_a_job_that_waits_beyond_its_deadline_is_failed_where_it_waits(
    database: Database, ask: Ask, clock: Clock, fields: dict[str, Any], duty: str
) -> None:
    def do() -> None:
        ask(database.promote(10) if duty == "promote" else database.heartbeat("w", lease=LEASE, info=b"{}", limit=10))

    late, in_time = new(deadline=1_000, **fields), new(deadline=1_001)
    ask(database.enqueue([late, in_time]))
    clock.pass_(999)
    do()
    assert [it.state for it in ask(database.find([late.jid, in_time.jid])) if it.state.final] == []
    clock.pass_(1)
    do()
    failed, waits = ask(database.find([late.jid, in_time.jid]))
    assert (failed.state, failed.reason, failed.attempt, failed.finish_at) == (State.FAILED, "deadline", 0, clock.now)
    assert failed.error == "JobTimeout: the deadline of this job passed while it waited"
    assert waits.state is State.QUEUED
    assert ask(database.counts()).failed == 1
    assert [it.jid for it in claim(database, ask).jobs] == [in_time.jid]


def test_a_job_that_has_expired_by_its_deadline_is_cancelled_and_does_not_get_its_key_back(
    database: Database, ask: Ask, clock: Clock
) -> None:
    unique, slot = Unique(key=b"k" * 16, until="processed"), Slot(limit=b"l" * 16, most=1)
    holder, blocked = (new(expires_in=1_000, deadline=2_000, **it) for it in ({"unique": unique}, {"slot": slot}))
    ask(database.enqueue([holder, new(deadline=0, slot=slot), blocked]))
    clock.pass_(1_000)
    second = new(deadline=0, unique=unique)
    assert ask(database.enqueue([second]))[0].new
    clock.pass_(1_000)
    ask(database.promote(10))
    found = ask(database.find([holder.jid, blocked.jid]))
    assert [(it.state, it.reason, it.failures) for it in found] == [(State.CANCELLED, "expired", ())] * 2
    ask(database.remove([second.jid]))
    assert ask(database.enqueue([new(deadline=0, unique=unique)]))[0].new


def test_a_job_that_waits_for_a_retry_keeps_its_errors_and_adds_that_it_was_late(
    database: Database, ask: Ask, clock: Clock
) -> None:
    job = new(deadline=1_000)
    ask(database.enqueue([job]))
    settle(database, ask, claim(database, ask).jobs[0], Move.RETRY, delay=60_000, failure=FAILURE)
    clock.pass_(1_000)
    ask(database.promote(10))
    failed = ask(database.find([job.jid]))[0]
    assert [it.type for it in failed.failures] == ["ValueError", "JobTimeout"]
    assert (failed.state, failed.attempt, ask(database.counts()).delayed) == (State.FAILED, 1, 0)


def test_of_those_that_are_late_a_limit_fails_the_earliest_and_a_run_is_left_to_its_worker(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jobs = [new(deadline=1_000 - n) for n in range(5)]
    ask(database.enqueue(jobs))
    (running,) = claim(database, ask, 1).jobs
    clock.pass_(1_000)
    for failed in (2, 4, 4):
        ask(database.promote(2))
        states = [it.state for it in ask(database.find([job.jid for job in jobs]))]
        assert states == [State.RUNNING] + [State.QUEUED] * (4 - failed) + [State.FAILED] * failed
    settle(database, ask, running, Move.RELEASE)
    clock.pass_(9_999)
    ask(database.promote(10))
    assert ask(database.find([running.jid]))[0].state is State.QUEUED
    clock.pass_(1)
    ask(database.promote(10))
    assert ask(database.find([running.jid]))[0].reason == "deadline"


def test_a_job_that_somebody_retries_has_no_deadline_any_more(database: Database, ask: Ask, clock: Clock) -> None:
    job = new(deadline=1_000)
    ask(database.enqueue([job]))
    clock.pass_(1_000)
    ask(database.promote(10))
    ask(database.retry([job.jid]))
    clock.pass_(60_000)
    ask(database.promote(10))
    (again,) = claim(database, ask).jobs
    assert (again.jid, again.attempt, again.left) == (job.jid, 1, None)


@pytest.mark.parametrize("ends", ["cancel", "remove", "purge", "flush"])
def test_nothing_is_left_of_a_deadline_when_its_job_has_gone(
    database: Database, ask: Ask, clock: Clock, ends: str
) -> None:
    job = new(deadline=1_000)
    ask(database.enqueue([job]))
    ask({
        "cancel": lambda: database.cancel([job.jid]),
        "remove": lambda: database.remove([job.jid]),
        "purge": lambda: database.purge("mail", 10),
        "flush": database.flush,
    }[ends]())  # fmt: skip
    clock.pass_(1_000)
    ask(database.promote(10))
    assert ask(database.counts()).failed == 0


def test_a_job_with_a_deadline_is_one_job_however_often_it_is_enqueued(database: Database, ask: Ask) -> None:
    job = new(deadline=10_000)
    assert [ask(database.enqueue([job]))[0].new for _ in range(2)] == [True, False]
    assert [it.jid for it in claim(database, ask).jobs] == [job.jid]
    assert not ask(database.enqueue([job]))[0].new
    assert claim(database, ask).jobs == []
