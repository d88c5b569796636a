"""The hot verbs, sentence by sentence of their docstrings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from procession.database import Database
from procession.database.shelf import Query
from procession.job import Crash, Job, NewJob, Outcome, State, new_jid
from procession.moves import Move
from procession.testing.contract.fixtures import Clock

Ask = Callable[..., Any]
LEASE = 15_000
FAILURE = b'{"attempt":1,"type":"ValueError","message":"no"}'


def new(**fields: Any) -> NewJob:
    return NewJob(**{"jid": new_jid(), "spec": b'["app.f",{"n":1}]', "queue": "mail", **fields})


def claim(
    database: Database, ask: Ask, limit: int = 10, *, worker: str = "w", queues: tuple[str, ...] = ("mail",)
) -> Any:
    return ask(database.claim(list(queues), worker, os.urandom(16), limit=limit, lease=LEASE))


def settle(database: Database, ask: Ask, job: Any, move: Move, worker: str = "w", **fields: Any) -> bool:
    return ask(database.settle(worker, [Outcome(jid=job.jid, token=job.token, move=move, **fields)]))[0]


def find(database: Database, ask: Ask, jid: UUID) -> Job:
    job = ask(database.find([jid]))[0]
    assert job is not None
    return job


def test_a_new_job_is_queued_with_what_was_asked(database: Database, ask: Ask, clock: Clock) -> None:
    job = new(priority=7)
    assert [it.new for it in ask(database.enqueue([job]))] == [True]
    found = find(database, ask, job.jid)
    assert (found.state, found.name, found.args, found.priority) == (State.QUEUED, "app.f", {"n": 1}, 7)
    assert (found.enqueued_at, found.attempt, found.start_at) == (clock.now, 0, 0)


def test_enqueuing_a_jid_twice_makes_one_job(database: Database, ask: Ask) -> None:
    job = new()
    assert [it.new for it in ask(database.enqueue([job, job]))] == [True, False]
    assert [it.new for it in ask(database.enqueue([job]))] == [False]
    assert len(claim(database, ask).jobs) == 1
    assert [it.new for it in ask(database.enqueue([job]))] == [False]


def test_jobs_are_claimed_first_in_first_out_within_a_priority(database: Database, ask: Ask) -> None:
    jobs = [new(priority=p) for p in (0, 5, -3, 0, 5)]
    ask(database.enqueue(jobs))
    order = [jobs.index(next(job for job in jobs if job.jid == it.jid)) for it in claim(database, ask).jobs]
    assert order == [1, 4, 0, 3, 2]


def test_queues_are_served_in_the_order_named_and_limits_honoured(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(queue="b"), new(queue="a"), new(queue="a")]))
    assert [job.queue for job in claim(database, ask, 2, queues=("b", "a")).jobs] == ["b", "a"]
    assert len(claim(database, ask, 0, queues=("a",)).jobs) == 0
    assert len(claim(database, ask, 5, queues=("a", "missing")).jobs) == 1


@pytest.mark.parametrize("fields", [{"delay": 2_000}, {"at": 1_800_000_002_000}])
def test_a_delayed_job_waits_until_it_is_due(
    database: Database, ask: Ask, clock: Clock, fields: dict[str, int]
) -> None:
    job = new(**fields)
    ask(database.enqueue([job]))
    found = find(database, ask, job.jid)
    assert (found.state, found.due_at) == (State.DELAYED, clock.now + 2_000)
    assert claim(database, ask).next_due == clock.now + 2_000
    assert ask(database.promote(10)).moved == 0
    clock.pass_(2_000)
    promoted = ask(database.promote(10))
    assert (promoted.moved, promoted.next_due) == (1, 0)
    assert [it.jid for it in claim(database, ask).jobs] == [job.jid]


def test_a_moment_in_the_past_is_now(database: Database, ask: Ask) -> None:
    job = new(at=1_000)
    ask(database.enqueue([job]))
    assert find(database, ask, job.jid).state is State.QUEUED


def test_promotion_goes_by_due_time_and_is_bounded(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [new(delay=d) for d in (300, 100, 200)]
    ask(database.enqueue(jobs))
    clock.pass_(400)
    assert ask(database.promote(2)).moved == 2
    assert ask(database.promote(2)).moved == 1
    assert [it.jid for it in claim(database, ask).jobs] == [jobs[1].jid, jobs[2].jid, jobs[0].jid]


def test_a_claimed_job_is_running_with_owner_and_counted_attempt(database: Database, ask: Ask, clock: Clock) -> None:
    job = new()
    ask(database.enqueue([job]))
    claimed = claim(database, ask).jobs[0]
    found = find(database, ask, job.jid)
    assert (found.state, found.worker, found.attempt, found.start_at) == (State.RUNNING, "w", 1, clock.now)
    assert (claimed.attempt, claimed.crashes, claimed.spec) == (1, 0, job.spec)
    assert ask(database.workers())[0].lease_until == clock.now + LEASE


def test_a_claim_repeated_with_its_token_answers_the_same_and_takes_nothing(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new() for _ in range(4)]))
    token = os.urandom(16)
    first = ask(database.claim(["mail"], "w", token, limit=2, lease=LEASE)).jobs
    again = ask(database.claim(["mail"], "w", token, limit=2, lease=LEASE)).jobs
    assert {it.jid for it in again} == {it.jid for it in first}
    assert ask(database.counts()).queued == 2


def test_a_claim_of_no_jobs_takes_none(database: Database, ask: Ask) -> None:
    tokens = [os.urandom(8) for _ in range(3)]
    ask(database.claim(["mail"], "w", tokens[1], limit=1, lease=LEASE, after=tokens[0]))
    ask(database.enqueue([new()]))
    assert ask(database.claim(["mail"], "w", tokens[2], limit=0, lease=LEASE, after=tokens[1])).jobs == []
    assert ask(database.counts()).queued == 1


def test_a_claim_behind_a_wait_leaves_the_bell_of_its_worker_to_others(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    [job] = claim(database, ask).jobs
    ask(database.cancel([job.jid]))
    assert [
        ask(database.claim(["mail"], "w", os.urandom(8), limit=1, lease=lease)).called for lease in (0, LEASE, LEASE)
    ] == [False, True, False]


def test_fences_only_rise(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new() for _ in range(6)]))
    fences = [job.fence for _ in range(3) for job in claim(database, ask, 2).jobs]
    assert fences == sorted(set(fences))


def test_a_paused_queue_gives_nothing_until_it_is_resumed(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    ask(database.pause(["mail"], "why not"))
    assert claim(database, ask).jobs == []
    ask(database.resume(["mail"]))
    assert len(claim(database, ask).jobs) == 1


@pytest.mark.parametrize("ageing", [0, 60_000])
def test_a_claim_that_stops_at_jobs_that_are_gone_says_that_more_may_follow(
    database: Database, ask: Ask, ageing: int
) -> None:
    gone, there = [new() for _ in range(250)], new()
    ask(database.enqueue([*gone, there]))
    ask(database.cancel([it.jid for it in gone]))

    def claimed() -> Any:
        return ask(database.claim(["mail"], "w", os.urandom(8), limit=10, lease=LEASE, ageing=ageing))

    claims = claimed()
    while claims.more:
        assert claims.jobs == []
        claims = claimed()
    assert [it.jid for it in claims.jobs] == [there.jid]
    assert not claimed().more


def test_an_expired_job_is_cancelled_and_never_handed_out(database: Database, ask: Ask, clock: Clock) -> None:
    queued, delayed = new(expires_in=1_000), new(delay=500, expires_at=clock.now + 900)
    ask(database.enqueue([queued, delayed]))
    clock.pass_(1_000)
    ask(database.promote(10))
    assert claim(database, ask).jobs == []
    for jid in (queued.jid, delayed.jid):
        assert (find(database, ask, jid).state, find(database, ask, jid).reason) == (State.CANCELLED, "expired")


def test_a_job_that_has_used_an_attempt_does_not_expire_any_more(database: Database, ask: Ask, clock: Clock) -> None:
    retried, crashed, given_back = (new(expires_in=1_000) for _ in range(3))
    ask(database.enqueue([retried, crashed, given_back]))
    first, second, third = claim(database, ask).jobs
    settle(database, ask, first, Move.RETRY, delay=1_000)
    settle(database, ask, second, Move.CRASH)
    settle(database, ask, third, Move.RELEASE)
    clock.pass_(1_000)
    ask(database.promote(10))
    assert {it.jid for it in claim(database, ask).jobs} == {retried.jid, crashed.jid}
    assert find(database, ask, given_back.jid).reason == "expired"


@pytest.mark.parametrize(
    ("move", "state", "attempt"),
    [
        (Move.PROCESS, State.PROCESSED, 1),
        (Move.FAIL, State.FAILED, 1),
        (Move.DISCARD, State.CANCELLED, 1),
        (Move.RETRY, State.DELAYED, 1),
        (Move.SNOOZE, State.DELAYED, 0),
        (Move.POSTPONE, State.DELAYED, 0),
        (Move.RELEASE, State.QUEUED, 0),
    ],
)
def test_an_outcome_moves_the_job_and_charges_the_attempt_or_not(
    database: Database, ask: Ask, clock: Clock, move: Move, state: State, attempt: int
) -> None:
    job = new()
    ask(database.enqueue([job]))
    claimed = claim(database, ask).jobs[0]
    assert settle(database, ask, claimed, move, delay=700, reason="because")
    found = find(database, ask, job.jid)
    assert (found.state, found.attempt, found.reason) == (state, attempt, "because")
    assert found.due_at == (clock.now + 700 if state is State.DELAYED else 0)
    assert found.finish_at == (clock.now if state.final else 0)
    assert ask(database.counts()).running == 0


def test_only_the_current_claim_counts(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    stale = claim(database, ask).jobs[0]
    assert settle(database, ask, stale, Move.RELEASE)
    assert not settle(database, ask, stale, Move.PROCESS)
    current = claim(database, ask, worker="v").jobs[0]
    assert not settle(database, ask, stale, Move.FAIL)
    assert settle(database, ask, current, Move.PROCESS, worker="v")


def test_jobs_of_all_kinds_are_claimed_and_settled_together(database: Database, ask: Ask, clock: Clock) -> None:
    long = b'["app.f",{"text":"' + b"x" * 3_000 + b'"}]'
    plain: list[dict[str, Any]] = [{}, {}, {"queue": "a"}, {"priority": 3}, {}]
    odd: list[dict[str, Any]] = [{"spec": long}, {"expires_in": 60_000}, {"deadline": 60_000}, {"delay": 10}]
    jobs = [new(**fields) for fields in (*plain, *odd, *plain, *odd)]
    ask(database.enqueue(jobs))
    clock.pass_(20)
    ask(database.promote(10))
    queues = ("mail", "a")
    for once in claim(database, ask, 3, queues=queues).jobs:  # some have run before
        assert settle(database, ask, once, Move.RELEASE if once.queue == "a" else Move.RETRY)
    clock.pass_(20)
    ask(database.promote(10))
    claimed = claim(database, ask, 100, queues=queues).jobs
    assert {it.jid: it.spec for it in claimed} == {it.jid: it.spec for it in jobs}
    assert len({it.attempt for it in claimed}) == 2
    outcomes = [
        Outcome(jid=it.jid, token=it.token, move=Move.PROCESS, value=b"%d" % number if number % 3 == 0 else None)
        for number, it in enumerate(claimed)
    ]
    assert ask(database.settle("w", [*outcomes, *outcomes[:3]])) == [True] * (len(jobs) + 3)
    for number, (it, job) in enumerate(zip(claimed, ask(database.find([it.jid for it in claimed])), strict=True)):
        assert job is not None
        assert (job.state, job.attempt, job.queue, job.worker) == (State.PROCESSED, it.attempt, it.queue, "w")
        assert (job.start_at, job.finish_at) == (clock.now, clock.now)
        assert job.result == (msgspec.Raw(b"%d" % number) if number % 3 == 0 else None)
    assert ask(database.counts()).processed == len(jobs)
    assert len(ask(database.page(Query(state=State.PROCESSED))).jobs) == len(jobs)


def test_a_settle_repeated_is_accepted_and_counted_once(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs[0]
    assert settle(database, ask, claimed, Move.PROCESS, value=b"1")
    assert settle(database, ask, claimed, Move.FAIL, failure=FAILURE)
    found = find(database, ask, claimed.jid)
    assert (found.state, found.failures) == (State.PROCESSED, ())
    assert ask(database.counts()).processed == 1


@pytest.mark.parametrize("late", [Move.RETRY, Move.RELEASE, Move.FAIL, Move.CRASH])
def test_of_two_outcomes_of_one_claim_in_one_call_the_first_counts(database: Database, ask: Ask, late: Move) -> None:
    ask(database.enqueue([new(), new()]))
    first, second = claim(database, ask).jobs
    outcomes = [(first, Move.PROCESS), (second, late), (first, late), (second, Move.PROCESS)]
    answers = ask(database.settle("w", [Outcome(jid=it.jid, token=it.token, move=move) for it, move in outcomes]))
    assert answers == [True, True, True, late is Move.FAIL]
    counts = ask(database.counts())
    assert (counts.processed, counts.running) == (1, 0)
    assert find(database, ask, first.jid).state is State.PROCESSED
    assert find(database, ask, second.jid).state is not State.PROCESSED


def test_results_and_errors_are_kept_with_the_job(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs[0]
    settle(database, ask, claimed, Move.RELEASE, failure=FAILURE)
    claimed = claim(database, ask).jobs[0]
    settle(database, ask, claimed, Move.PROCESS, value=b'{"a":1}')
    found = find(database, ask, claimed.jid)
    assert found.error == "ValueError: no"
    assert found.result is not None
    assert bytes(found.result) == b'{"a":1}'


def test_a_released_job_is_the_next_to_run(database: Database, ask: Ask) -> None:
    first, second = new(), new()
    ask(database.enqueue([first, second]))
    settle(database, ask, claim(database, ask, 1).jobs[0], Move.RELEASE)
    assert claim(database, ask, 1).jobs[0].jid == first.jid


def test_the_oldest_finished_job_is_pushed_out_over_the_bound(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [new() for _ in range(25)]
    ask(database.enqueue(jobs))
    for claimed in claim(database, ask, 25).jobs:
        clock.pass_(1)
        settle(database, ask, claimed, Move.PROCESS)
    assert ask(database.find([job.jid for job in jobs[:5]])) == [None] * 5
    counts = ask(database.counts())
    assert (counts.kept_processed, counts.processed) == (20, 25)


def test_a_heartbeat_extends_the_lease_and_tells_what_is_held(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs[0]
    clock.pass_(5_000)
    held = ask(database.heartbeat("w", lease=LEASE, info=b'{"host":"here","pid":7}')).held
    assert [(it.jid, it.token, it.cancel) for it in held] == [(claimed.jid, claimed.token, False)]
    info = ask(database.workers())[0]
    assert (info.host, info.pid, info.running, info.lease_until) == ("here", 7, 1, clock.now + LEASE)


def recovered(database: Database, ask: Ask, clock: Clock) -> list[UUID]:
    for _ in range(12):
        taken = ask(database.recover(100, lease=LEASE))
        if taken:
            return taken
        clock.pass_(3_000)
    return []


def test_the_jobs_of_a_dead_worker_are_taken_back_and_its_late_outcome_refused(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new(), new()]))
    lost = claim(database, ask).jobs
    assert set(recovered(database, ask, clock)) == {job.jid for job in lost}
    assert not settle(database, ask, lost[0], Move.PROCESS)
    again = claim(database, ask, worker="v").jobs
    assert [(job.attempt, job.crashes) for job in again] == [(2, 1), (2, 1)]
    assert ask(database.heartbeat("w", lease=LEASE, info=b"{}")).held == []


def test_a_worker_that_lives_keeps_its_jobs(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    claim(database, ask)
    for _ in range(10):
        ask(database.extend(["w"], lease=LEASE))
        assert ask(database.recover(100, lease=LEASE)) == []
        clock.pass_(3_000)


def test_a_lease_that_ran_out_is_resumed_while_nobody_took_the_jobs(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs[0]
    clock.pass_(10 * LEASE)
    assert len(ask(database.heartbeat("w", lease=LEASE, info=b"{}")).held) == 1
    assert settle(database, ask, claimed, Move.PROCESS)


def test_recovery_waits_one_lease_after_an_outage(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    claim(database, ask)
    ask(database.recover(100, lease=LEASE))
    clock.pass_(10 * LEASE)
    assert ask(database.recover(100, lease=LEASE)) == []
    clock.pass_(LEASE // 3)
    assert ask(database.recover(100, lease=LEASE)) == []


def test_a_job_that_keeps_killing_its_worker_fails_as_poison_after_three_runs(
    database: Database, ask: Ask, clock: Clock
) -> None:
    job = new()
    ask(database.enqueue([job]))
    for run in range(3):
        assert len(claim(database, ask, worker=f"w{run}").jobs) == 1
        assert ask(database.leave(f"w{run}", crash=Crash(how="signal 9"))) == [job.jid]
    found = find(database, ask, job.jid)
    assert (found.state, found.reason, found.crashes, found.attempt) == (State.FAILED, "poison", 3, 3)
    assert [failure.message for failure in found.failures] == ["signal 9"] * 3


def test_a_job_that_kills_only_its_own_process_is_poison_after_three_runs_too(database: Database, ask: Ask) -> None:
    job = new()
    ask(database.enqueue([job]))
    for run in range(1, 4):
        claimed = claim(database, ask).jobs[0]
        outcome = Outcome(jid=job.jid, token=claimed.token, move=Move.CRASH)
        assert ask(database.settle("w", [outcome])) == [True]
        assert ask(database.settle("w", [outcome])) == [run == 3]
    found = find(database, ask, job.jid)
    assert (found.state, found.reason, found.crashes, found.attempt) == (State.FAILED, "poison", 3, 3)
    assert (ask(database.counts()).recovered, ask(database.counts()).running) == (3, 0)


def test_the_dossier_of_a_dead_worker_is_kept_with_each_of_its_jobs(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(), new()]))
    jobs = claim(database, ask).jobs
    crash = Crash(how="signal 11", host="h", pid=7, memory=1 << 40, beside=1, log=('say "hi"',), stack="é\n")
    ask(database.leave("w", crash=crash))
    for job in jobs:
        assert find(database, ask, job.jid).failures[-1].crash == crash


def test_a_worker_that_leaves_with_nothing_is_forgotten(database: Database, ask: Ask) -> None:
    claim(database, ask)
    assert ask(database.leave("w")) == []
    assert ask(database.workers()) == []


def test_prune_forgets_what_is_too_old(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new(), new()]))
    first, second = claim(database, ask).jobs
    settle(database, ask, first, Move.PROCESS)
    settle(database, ask, second, Move.FAIL)
    clock.pass_(25 * 3600 * 1000)
    assert ask(database.prune(100)) == 1
    assert [it is None for it in ask(database.find([first.jid, second.jid]))] == [True, False]


def test_several_operations_travel_together_and_answer_in_order(database: Database, ask: Ask) -> None:
    stored, counts = ask(database.enqueue([new()]), database.counts())
    assert stored[0].new
    assert counts.queued == 1
