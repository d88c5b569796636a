"""Priorities, and what waiting does to them where a claim asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from procession.database import Database
from procession.job import NewJob
from procession.moves import Move
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, claim, new, settle

Ask = Callable[..., Any]
SPAN = 1_000


def aged(database: Database, ask: Ask, jobs: list[NewJob], limit: int = 10, ageing: int = SPAN) -> list[int]:
    """Claim with ageing: the numbers of the jobs that came, in order."""
    claims = ask(database.claim(["mail"], "w", os.urandom(16), limit=limit, lease=LEASE, ageing=ageing))
    numbers = {job.jid: n for n, job in enumerate(jobs)}
    return [numbers[it.jid] for it in claims.jobs]


def test_without_ageing_a_priority_waits_for_all_above_it_however_long(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jobs = [new(priority=-100), new(priority=-99)]
    ask(database.enqueue(jobs[:1]))
    clock.pass_(300 * 24 * 3_600_000)
    ask(database.enqueue(jobs[1:]))
    assert aged(database, ask, jobs, ageing=0) == [1, 0]


def test_each_span_of_waiting_counts_one_priority_and_of_equals_the_oldest_is_first(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jobs = [new(priority=0), new(priority=3), new(priority=3)]
    ask(database.enqueue(jobs[:1]))
    clock.pass_(3 * SPAN - 1)
    ask(database.enqueue(jobs[1:2]))
    assert aged(database, ask, jobs, 1) == [1]
    clock.pass_(1)
    ask(database.enqueue(jobs[2:]))
    assert aged(database, ask, jobs) == [0, 2]


def test_a_head_that_has_aged_takes_none_of_those_behind_it_along(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [new(priority=0), new(priority=0), *(new(priority=2) for _ in range(3)), new(priority=-1)]
    ask(database.enqueue(jobs[:1]))
    clock.pass_(5 * SPAN)
    ask(database.enqueue(jobs[1:]))
    assert aged(database, ask, jobs) == [0, 2, 3, 4, 1, 5]


def test_a_priority_that_is_empty_then_leaves_the_others_in_their_order(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jobs = [new(priority=0), new(priority=-1), new(priority=2)]
    ask(database.enqueue(jobs[:2]))
    clock.pass_(9 * SPAN)
    ask(database.enqueue(jobs[2:]))
    assert aged(database, ask, jobs) == [0, 1, 2]


def test_the_order_inside_a_priority_stays(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [new(priority=n % 2) for n in range(40)]
    for job in jobs:
        ask(database.enqueue([job]))
        clock.pass_(SPAN // 4)
    order = aged(database, ask, jobs, 25) + aged(database, ask, jobs, 25)
    assert sorted(order) == [*range(40)]
    assert [n for n in order if n % 2] == [*range(1, 40, 2)]
    assert [n for n in order if not n % 2] == [*range(0, 40, 2)]


@pytest.mark.parametrize("move", [Move.RETRY, Move.RELEASE, Move.CRASH])
def test_a_job_that_has_run_keeps_its_priority_and_ages_from_when_it_is_ready_again(
    database: Database, ask: Ask, clock: Clock, move: Move
) -> None:
    jobs = [new(priority=1), new(priority=4), new(priority=0)]
    ask(database.enqueue(jobs[:1]))
    clock.pass_(60 * SPAN)
    (job,) = claim(database, ask).jobs
    settle(database, ask, job, move, delay=SPAN)
    clock.pass_(SPAN)
    ask(database.promote(10))
    ask(database.enqueue(jobs[1:]))
    assert aged(database, ask, jobs) == [1, 0, 2]


def test_removed_cancelled_and_expired_heads_do_not_count(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [*(new(priority=0) for _ in range(4)), new(priority=5), new(priority=9, expires_in=SPAN)]
    ask(database.enqueue([*jobs[:3], jobs[5]]))
    clock.pass_(20 * SPAN)
    ask(database.enqueue([jobs[3], jobs[4]]))
    ask(database.cancel([jobs[0].jid, jobs[1].jid]))
    ask(database.remove([jobs[2].jid]))
    assert aged(database, ask, jobs) == [4, 3]


def test_no_job_that_is_ready_a_bound_later_goes_before_one_of_a_lower_priority(
    database: Database, ask: Ask, clock: Clock
) -> None:
    low, begun = new(priority=0), clock.now
    ask(database.enqueue([low]))
    order: list[Any] = []
    ready: dict[Any, int] = {}
    while low.jid not in order:  # three come for two that are taken: without ageing it would never run
        high = [new(priority=5) for _ in range(3)]
        ready |= {job.jid: clock.now - begun for job in high}
        ask(database.enqueue(high))
        claims = ask(database.claim(["mail"], "w", os.urandom(16), limit=2, lease=LEASE, ageing=SPAN))
        order += [it.jid for it in claims.jobs]
        clock.pass_(SPAN)
    before = order[: order.index(low.jid)]
    assert len(before) == 5 * 3
    assert max(ready[jid] for jid in before) == 4 * SPAN
