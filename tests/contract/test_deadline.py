"""A deadline travels with its job: each claim says how much time is left."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from procession.database import Database
from procession.moves import Move
from procession.unique import Unique
from tests.contract.conftest import Clock
from tests.contract.test_queue import LEASE, claim, new, settle

Ask = Callable[..., Any]


LONG = b'{"name":"' + b"f" * 2_000 + b'"}'


@pytest.mark.parametrize("fields", [{}, {"unique": Unique(key=b"k" * 16)}, {"spec": LONG}])
def test_a_claim_says_how_much_time_is_left(database: Database, ask: Ask, clock: Clock, fields: dict[str, Any]) -> None:
    plain, job = new(), new(deadline=10_000, **fields)
    ask(database.enqueue([plain, job]))
    clock.pass_(3_000)
    first, second = claim(database, ask).jobs
    assert (first.left, second.left, second.jid, second.spec) == (None, 7_000, job.jid, job.spec)
    settle(database, ask, second, Move.RETRY, delay=9_000)
    clock.pass_(9_000)
    ask(database.promote(10))
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


def test_a_job_with_a_deadline_is_one_job_however_often_it_is_enqueued(database: Database, ask: Ask) -> None:
    job = new(deadline=10_000)
    assert [ask(database.enqueue([job]))[0].new for _ in range(2)] == [True, False]
    assert [it.jid for it in claim(database, ask).jobs] == [job.jid]
    assert not ask(database.enqueue([job]))[0].new
    assert claim(database, ask).jobs == []
