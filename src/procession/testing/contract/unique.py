"""Unique keys: in each state of the job that has one, the answer to another enqueue is the documented one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from procession.database import Database
from procession.job import NewJob, State, Stored, new_jid
from procession.moves import Move
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, claim, find, settle
from procession.unique import Unique, Until

Ask = Callable[..., Any]
KEY = b"k" * 16


def new(key: bytes = KEY, *, text: str = "1", jid: Any = None, **words: Any) -> NewJob:
    """A new job with a unique key; words of `Unique` go there."""
    rules = {word: words.pop(word) for word in ("until", "window", "conflict", "at_most") if word in words}
    spec = b'["app.f",{"n":' + text.encode() + b"}]"
    return NewJob(jid=jid or new_jid(), spec=spec, queue="mail", unique=Unique(key=key, **rules), **words)


def enqueue(database: Database, ask: Ask, job: NewJob) -> Stored:
    stored: Stored = ask(database.enqueue([job]))[0]
    return stored


def queued(database: Database, ask: Ask, clock: Clock) -> None:
    """As it was enqueued."""


def running(database: Database, ask: Ask, clock: Clock) -> Any:
    return claim(database, ask).jobs[0]


def waiting_for_a_retry(database: Database, ask: Ask, clock: Clock) -> None:
    settle(database, ask, running(database, ask, clock), Move.RETRY, delay=60_000)


def snoozed(database: Database, ask: Ask, clock: Clock) -> None:
    settle(database, ask, running(database, ask, clock), Move.SNOOZE, delay=60_000)


def released(database: Database, ask: Ask, clock: Clock) -> None:
    settle(database, ask, running(database, ask, clock), Move.RELEASE)


def recovered(database: Database, ask: Ask, clock: Clock) -> None:
    worker = str(new_jid())  # one that left does not come back
    claim(database, ask, worker=worker)
    ask(database.leave(worker))


def processed(database: Database, ask: Ask, clock: Clock) -> None:
    settle(database, ask, running(database, ask, clock), Move.PROCESS)


def failed(database: Database, ask: Ask, clock: Clock) -> None:
    settle(database, ask, running(database, ask, clock), Move.FAIL)


def poisoned(database: Database, ask: Ask, clock: Clock) -> None:
    for _ in range(3):
        recovered(database, ask, clock)


def cancelled(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.cancel([find_holder(database, ask)]))


def discarded(database: Database, ask: Ask, clock: Clock) -> None:
    settle(database, ask, running(database, ask, clock), Move.DISCARD)


def removed(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.remove([find_holder(database, ask)]))


def purged(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.purge("mail", 10))


def forgotten(database: Database, ask: Ask, clock: Clock) -> None:
    processed(database, ask, clock)
    clock.pass_(2 * 24 * 3600 * 1000)
    assert ask(database.prune(100)) == 1


def revived(database: Database, ask: Ask, clock: Clock) -> None:
    jid = find_holder(database, ask)
    failed(database, ask, clock)
    assert ask(database.retry([jid])) == [State.FAILED]


def find_holder(database: Database, ask: Ask) -> Any:
    return ask(database.peek("mail"))[0].jid


HELD: dict[Callable[..., Any], set[Until]] = {
    queued: {"start", "processed", "done"},
    running: {"processed", "done"},
    waiting_for_a_retry: {"processed", "done"},
    snoozed: {"processed", "done"},
    released: {"processed", "done"},
    recovered: {"processed", "done"},
    processed: set(),
    failed: {"processed"},
    poisoned: {"processed"},
    cancelled: set(),
    discarded: set(),
    removed: set(),
    purged: set(),
    forgotten: set(),
    revived: {"start", "processed", "done"},
}
"""Where a job is → which `until` still holds its key."""


@pytest.mark.parametrize("until", ["start", "processed", "done"])
@pytest.mark.parametrize("to", HELD, ids=lambda to: to.__name__)
def test_in_every_state_the_key_is_held_or_free_as_documented(
    database: Database, ask: Ask, clock: Clock, to: Callable[..., Any], until: Until
) -> None:
    first, second = new(until=until), new(until=until)
    assert enqueue(database, ask, first) == Stored(first.jid, True)
    to(database, ask, clock)
    held = until in HELD[to]
    assert enqueue(database, ask, second) == (Stored(first.jid, False) if held else Stored(second.jid, True))
    assert (ask(database.find([second.jid]))[0] is None) is held


@pytest.mark.parametrize("to", [queued, running, waiting_for_a_retry, recovered], ids=lambda to: to.__name__)
def test_a_job_is_never_in_conflict_with_itself(
    database: Database, ask: Ask, clock: Clock, to: Callable[..., Any]
) -> None:
    job = new()
    enqueue(database, ask, job)
    to(database, ask, clock)
    assert enqueue(database, ask, job) == Stored(job.jid, False)
    clock.pass_(60_000)
    ask(database.promote(10), database.recover(10, lease=LEASE))
    assert ask(database.counts()).enqueued == 1


def test_of_several_in_one_call_the_first_is_stored_and_other_keys_are_their_own(database: Database, ask: Ask) -> None:
    jobs = [new(), new(), new(b"x" * 16), new(delay=500), new(b"x" * 16, priority=3)]
    answers = ask(database.enqueue(jobs))
    assert [it.new for it in answers] == [True, False, True, False, False]
    assert [it.jid for it in answers] == [jobs[0].jid, jobs[0].jid, jobs[2].jid, jobs[0].jid, jobs[2].jid]
    assert ask(database.counts()).queued == 2


def test_an_expired_job_frees_its_key(database: Database, ask: Ask, clock: Clock) -> None:
    enqueue(database, ask, new(expires_in=1_000))
    clock.pass_(1_000)
    assert claim(database, ask).jobs == []
    assert enqueue(database, ask, new()).new


@pytest.mark.parametrize("delay", [0, 60_000])
@pytest.mark.parametrize("conflict", ["keep", "replace", "raise"])
def test_a_job_that_waits_beyond_its_expiry_holds_no_key_though_nobody_has_looked(
    database: Database, ask: Ask, clock: Clock, delay: int, conflict: Any
) -> None:
    expired = new(expires_in=1_000, delay=delay)
    enqueue(database, ask, expired)
    clock.pass_(999)
    assert not enqueue(database, ask, new()).new
    clock.pass_(1)
    second = new(conflict=conflict)
    assert enqueue(database, ask, second) == Stored(second.jid, True)
    assert [job.jid for job in claim(database, ask).jobs] == [second.jid]
    clock.pass_(60_000)
    ask(database.promote(100))
    assert find(database, ask, expired.jid).state == State.CANCELLED
    assert enqueue(database, ask, new()) == Stored(second.jid, False)


@pytest.mark.parametrize(("until", "free"), [("done", True), ("start", True), ("processed", False)])
def test_a_job_that_waits_beyond_its_deadline_counts_as_failed_though_nobody_has_looked(
    database: Database, ask: Ask, clock: Clock, until: Any, free: bool
) -> None:
    late = new(until=until, deadline=1_000)
    enqueue(database, ask, late)
    clock.pass_(999)
    assert not enqueue(database, ask, new()).new
    clock.pass_(1)
    second = new()
    assert enqueue(database, ask, second) == Stored(second.jid if free else late.jid, free)


def test_a_job_that_began_holds_its_key_beyond_its_expiry(database: Database, ask: Ask, clock: Clock) -> None:
    first = new(expires_in=1_000)
    enqueue(database, ask, first)
    begun = claim(database, ask).jobs[0]
    clock.pass_(1_000)
    assert enqueue(database, ask, new()) == Stored(first.jid, False)
    settle(database, ask, begun, Move.RETRY, delay=60_000)
    assert enqueue(database, ask, new()) == Stored(first.jid, False)


def test_a_window_keeps_the_key_after_the_job_is_done_and_is_over_by_the_stores_clock(
    database: Database, ask: Ask, clock: Clock
) -> None:
    first = new(window=10_000)
    enqueue(database, ask, first)
    processed(database, ask, clock)
    clock.pass_(9_999)
    assert enqueue(database, ask, new(window=10_000)) == Stored(first.jid, False)
    clock.pass_(1)
    assert enqueue(database, ask, new(window=10_000)).new


def test_a_window_alone_frees_the_key_though_the_job_still_waits(database: Database, ask: Ask, clock: Clock) -> None:
    first, second = new(until=None, window=1_000), new(until=None, window=1_000)
    assert [it.new for it in ask(database.enqueue([first, second]))] == [True, False]
    clock.pass_(1_000)
    assert enqueue(database, ask, second).new
    assert ask(database.counts()).queued == 2


def test_a_window_ends_with_the_record_of_its_job(database: Database, ask: Ask, clock: Clock) -> None:
    enqueue(database, ask, first := new(window=10**9))
    ask(database.remove([first.jid]))
    assert enqueue(database, ask, new(window=10**9)).new


@pytest.mark.parametrize("text", ["2", f'"{"long" * 500}"'])
def test_replace_gives_a_waiting_job_new_arguments_due_time_and_expiry(
    database: Database, ask: Ask, clock: Clock, text: str
) -> None:
    first = new(priority=4)
    enqueue(database, ask, first)
    answer = enqueue(database, ask, new(text=text, conflict="replace", delay=5_000, expires_in=60_000))
    assert answer == Stored(first.jid, False)
    job = find(database, ask, first.jid)
    assert (job.state, job.args, job.priority) == (State.DELAYED, {"n": json.loads(text)}, 4)
    assert (job.due_at, job.expires_at) == (clock.now + 5_000, clock.now + 60_000)
    assert claim(database, ask).jobs == []
    clock.pass_(4_000)
    enqueue(database, ask, new(text="7", conflict="replace"))
    job = find(database, ask, first.jid)
    assert (job.state, job.args, job.due_at, job.expires_at) == (State.QUEUED, {"n": 7}, clock.now, 0)
    clock.pass_(30)
    assert [(it.jid, it.waited) for it in claim(database, ask).jobs] == [(first.jid, 30)], "since it is ready"


def test_replace_back_and_forth_in_one_call_leaves_one_job(database: Database, ask: Ask) -> None:
    first = new()
    again = [new(conflict="replace", delay=delay) for delay in (900, 0, 900, 0)]
    assert {it.jid for it in ask(database.enqueue([first, *again]))} == {first.jid}
    assert [it.jid for it in claim(database, ask).jobs] == [first.jid]
    assert ask(database.counts()).queued == 0


def test_replace_leaves_a_running_job_alone(database: Database, ask: Ask, clock: Clock) -> None:
    enqueue(database, ask, first := new())
    running(database, ask, clock)
    assert enqueue(database, ask, new(text="2", conflict="replace", delay=9)) == Stored(first.jid, False)
    job = find(database, ask, first.jid)
    assert (job.state, job.args) == (State.RUNNING, {"n": 1})


def test_replace_changes_the_arguments_of_a_retry_and_not_its_time(database: Database, ask: Ask, clock: Clock) -> None:
    enqueue(database, ask, first := new())
    waiting_for_a_retry(database, ask, clock)
    enqueue(database, ask, new(text="2", conflict="replace"))
    job = find(database, ask, first.jid)
    assert (job.state, job.args, job.due_at) == (State.DELAYED, {"n": 2}, clock.now + 60_000)


def test_a_due_time_is_pushed_out_at_most_so_far_from_the_first_enqueue(
    database: Database, ask: Ask, clock: Clock
) -> None:
    start = clock.now
    words: dict[str, Any] = {"until": "start", "conflict": "replace", "delay": 5_000, "at_most": 12_000}
    enqueue(database, ask, first := new(**words))
    for passed, due in [(4_000, 9_000), (4_000, 12_000), (3_000, 12_000)]:
        clock.pass_(passed)
        assert enqueue(database, ask, new(**words)).jid == first.jid
        assert find(database, ask, first.jid).due_at == start + due
    clock.pass_(1_000)
    ask(database.promote(10))
    assert enqueue(database, ask, new(text="9", **words)).jid == first.jid
    assert find(database, ask, first.jid).state is State.QUEUED, "its time is over: it is not put off again"
    assert [it.jid for it in claim(database, ask).jobs] == [first.jid]
    assert enqueue(database, ask, new(**words)).new


def test_a_retried_job_whose_key_is_taken_is_refused_until_it_is_free(
    database: Database, ask: Ask, clock: Clock
) -> None:
    first, second = new(), new()
    enqueue(database, ask, first)
    failed(database, ask, clock)
    enqueue(database, ask, second)
    assert ask(database.retry([first.jid])) == [State.BLOCKED]
    assert find(database, ask, first.jid).state is State.FAILED
    ask(database.cancel([second.jid]))
    assert ask(database.retry([first.jid, second.jid])) == [State.FAILED, State.BLOCKED]
    assert enqueue(database, ask, new()) == Stored(first.jid, False)


def test_a_job_that_lost_its_key_takes_nothing_with_it(database: Database, ask: Ask, clock: Clock) -> None:
    first, second = new(), new()
    enqueue(database, ask, first)
    processed(database, ask, clock)
    enqueue(database, ask, second)
    ask(database.remove([first.jid]))
    assert enqueue(database, ask, new()) == Stored(second.jid, False)
