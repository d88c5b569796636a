"""Edit and retry, sentence by sentence of `Revisions.revise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from procession.database import Database, Revision
from procession.job import Job, State, new_jid
from procession.limits import Slot
from procession.moves import Move
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.limits import new as limited
from procession.testing.contract.queue import FAILURE, claim, find, new, settle
from procession.testing.contract.unique import KEY, enqueue
from procession.testing.contract.unique import new as unique

Ask = Callable[..., Any]
OTHER = b"o" * 16
EDITED = b'["app.f",{"n":2}]'


def failed(database: Database, ask: Ask, job: Any) -> Job:
    ask(database.enqueue([job]))
    (claimed,) = claim(database, ask).jobs
    assert settle(database, ask, claimed, Move.FAIL, failure=FAILURE)
    found = find(database, ask, job.jid)
    assert found is not None
    return found


def revise(database: Database, ask: Ask, jid: UUID, finish_at: int, spec: bytes = EDITED, **words: Any) -> bool:
    asked = Revision(jid=jid, finish_at=finish_at, spec=spec, **words)
    changed: bool = ask(database.revise([asked]))[0]
    return changed


@pytest.mark.parametrize("size", [1, 2_000])
def test_a_finished_job_runs_again_as_what_is_asked_now_and_keeps_its_errors(
    database: Database, ask: Ask, clock: Clock, size: int
) -> None:
    before = failed(database, ask, new())
    clock.pass_(1_000)
    spec = b'["app.f",{"text":"%s"}]' % (b"x" * size)
    assert revise(database, ask, before.jid, before.finish_at, spec)
    after = find(database, ask, before.jid)
    assert after is not None
    assert (after.state, after.args, after.attempt) == (State.QUEUED, {"text": "x" * size}, 0)
    assert after.failures == before.failures
    (claimed,) = claim(database, ask).jobs
    assert (claimed.jid, claimed.spec) == (before.jid, spec)
    settle(database, ask, claimed, Move.FAIL)
    again = find(database, ask, before.jid)
    assert again is not None
    assert revise(database, ask, again.jid, again.finish_at)
    assert find(database, ask, before.jid).args == {"n": 2}


def test_a_job_that_is_not_as_it_was_read_is_left_as_it_is(database: Database, ask: Ask, clock: Clock) -> None:
    job = failed(database, ask, new())
    assert not revise(database, ask, new_jid(), 0)
    assert not revise(database, ask, job.jid, job.finish_at + 1)
    assert revise(database, ask, job.jid, job.finish_at)
    assert not revise(database, ask, job.jid, job.finish_at), "it is queued"
    (claimed,) = claim(database, ask).jobs
    assert not revise(database, ask, job.jid, 0), "it runs"
    clock.pass_(5)
    settle(database, ask, claimed, Move.FAIL)
    assert not revise(database, ask, job.jid, job.finish_at), "it failed anew"


def test_a_job_whose_key_another_job_holds_is_left_as_it_is(database: Database, ask: Ask) -> None:
    first = unique()
    before = failed(database, ask, first)
    second = unique()
    assert enqueue(database, ask, second).new
    assert not revise(database, ask, first.jid, before.finish_at)
    assert find(database, ask, first.jid) == before


def test_under_a_new_key_the_old_one_is_free_and_the_new_one_is_held(database: Database, ask: Ask) -> None:
    first = unique(until="processed")
    before = failed(database, ask, first)
    assert not enqueue(database, ask, unique(until="processed")).new, "a failed job holds it"
    assert revise(database, ask, first.jid, before.finish_at, key=OTHER)
    assert enqueue(database, ask, unique(KEY)).new
    assert enqueue(database, ask, unique(OTHER)).jid == first.jid
    claims = {job.jid: job for job in claim(database, ask, limit=2).jobs}
    settle(database, ask, claims[first.jid], Move.FAIL)
    assert enqueue(database, ask, unique(OTHER)).jid == first.jid, "what frees it stays"


def test_a_new_key_that_another_job_holds_changes_nothing(database: Database, ask: Ask) -> None:
    first = unique(until="processed")
    before = failed(database, ask, first)
    holder = unique(OTHER)
    assert enqueue(database, ask, holder).new
    assert not revise(database, ask, first.jid, before.finish_at, key=OTHER)
    assert find(database, ask, first.jid) == before
    assert enqueue(database, ask, unique()).jid == first.jid


def test_a_job_without_a_key_gets_none(database: Database, ask: Ask) -> None:
    job = failed(database, ask, new())
    assert revise(database, ask, job.jid, job.finish_at, key=OTHER)
    assert enqueue(database, ask, unique(OTHER)).new


def test_a_job_under_a_limit_asks_for_a_slot_of_it_or_of_the_one_that_is_named(database: Database, ask: Ask) -> None:
    first = failed(database, ask, limited())
    second = failed(database, ask, limited())
    ask(database.enqueue([limited()]))
    assert revise(database, ask, first.jid, first.finish_at)
    other = Slot(limit=b"p" * 16, most=1)
    assert revise(database, ask, second.jid, second.finish_at, slot=other)
    found = [find(database, ask, it.jid).state for it in (first, second)]
    assert found == [State.BLOCKED, State.QUEUED]
