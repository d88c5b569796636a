"""What the hot verbs promise when somebody dies, asks twice, or comes late; over every backend."""

from __future__ import annotations

import os

import pytest

from procession.database import Database, Death
from procession.job import Crash, Outcome, State
from procession.moves import Move
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import FAILURE, LEASE, Ask, claim, find, new, recovered, settle

MOVES = [Move.PROCESS, Move.FAIL, Move.RETRY, Move.RELEASE, Move.DISCARD, Move.CRASH]


@pytest.mark.parametrize("move", MOVES)
def test_an_outcome_of_an_earlier_claim_is_refused_while_another_runs(
    database: Database, ask: Ask, move: Move
) -> None:
    ask(database.enqueue([new()]))
    stale = claim(database, ask).jobs[0]
    ask(database.leave("w", crash=Crash(how="signal 9")))
    current = claim(database, ask, worker="v").jobs[0]
    before = find(database, ask, stale.jid)
    assert not settle(database, ask, stale, move, failure=FAILURE)
    assert find(database, ask, stale.jid) == before
    assert settle(database, ask, current, Move.PROCESS, worker="v")


@pytest.mark.parametrize("move", MOVES)
def test_a_claim_that_was_given_back_settles_nothing_afterwards(database: Database, ask: Ask, move: Move) -> None:
    ask(database.enqueue([new()]))
    stale = claim(database, ask).jobs[0]
    assert settle(database, ask, stale, Move.RELEASE)
    current = claim(database, ask, worker="v").jobs[0]
    assert not settle(database, ask, stale, move)
    assert settle(database, ask, current, Move.PROCESS, worker="v")


@pytest.mark.parametrize("taken_back", [0, 1, 2])
def test_of_jobs_that_are_alike_each_settles_by_its_own_claim(database: Database, ask: Ask, taken_back: int) -> None:
    ask(database.enqueue([new(), new(), new()]))
    held = claim(database, ask).jobs
    assert settle(database, ask, held[taken_back], Move.RELEASE)
    assert len(claim(database, ask).jobs) == 1  # the same worker has it, by another claim
    outcomes = [Outcome(jid=it.jid, token=it.token, move=Move.PROCESS) for it in held]
    assert ask(database.settle("w", outcomes)) == [number != taken_back for number in range(3)]
    states = [find(database, ask, it.jid).state for it in held]
    assert [state is State.RUNNING for state in states] == [number == taken_back for number in range(3)]


@pytest.mark.parametrize("move", [Move.PROCESS, Move.FAIL])
def test_an_outcome_of_an_earlier_claim_is_refused_after_the_job_ended(
    database: Database, ask: Ask, move: Move
) -> None:
    ask(database.enqueue([new()]))
    stale = claim(database, ask).jobs[0]
    ask(database.leave("w"))
    settle(database, ask, claim(database, ask, worker="v").jobs[0], Move.PROCESS, worker="v")
    assert not settle(database, ask, stale, move)


def test_a_job_cancelled_and_retried_is_handed_out_once_and_in_its_new_place(database: Database, ask: Ask) -> None:
    first, second = new(), new()
    ask(database.enqueue([first, second]))
    ask(database.cancel([first.jid]))
    ask(database.retry([first.jid]))
    assert [it.jid for it in claim(database, ask).jobs] == [second.jid, first.jid]


def test_to_extend_an_unknown_worker_makes_none(database: Database, ask: Ask) -> None:
    ask(database.extend(["nobody"], lease=LEASE))
    assert ask(database.workers()) == []


def test_a_worker_that_dies_right_after_its_claim_is_found(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs
    taken = []
    for _ in range(8):
        clock.pass_(LEASE // 3)
        taken = ask(database.recover(10, lease=LEASE))
        if taken:
            break
    assert taken == [it.jid for it in claimed]


def test_a_worker_whose_jobs_were_taken_back_is_told_that_it_holds_none_of_them(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new(), new()]))
    claim(database, ask, 1)
    assert len(recovered(database, ask, clock)) == 1
    current = claim(database, ask, 1, worker="v").jobs[0]
    own = claim(database, ask, 1).jobs[0]
    held = ask(database.heartbeat("w", lease=LEASE, info=b"{}")).held
    assert [(it.jid, it.token) for it in held] == [(own.jid, own.token)]
    held = ask(database.heartbeat("v", lease=LEASE, info=b"{}")).held
    assert [(it.jid, it.token) for it in held] == [(current.jid, current.token)]


def test_a_heartbeat_that_comes_after_its_worker_left_makes_no_worker(
    database: Database, ask: Ask, clock: Clock
) -> None:
    claim(database, ask)
    ask(database.leave("w"))
    for passed in (0, 30_000, 29_999):
        clock.pass_(passed)
        beat = ask(database.heartbeat("w", lease=LEASE, info=b"{}", queues=["mail"], limit=10))
        assert (beat.left, beat.held) == (True, [])
        assert ask(database.workers()) == []
    clock.pass_(1)
    assert not ask(database.heartbeat("w", lease=LEASE, info=b"{}")).left
    assert [it.id for it in ask(database.workers())] == ["w"]


def test_a_claim_that_comes_after_its_worker_left_takes_nothing(database: Database, ask: Ask) -> None:
    claim(database, ask)
    ask(database.leave("w"))
    ask(database.enqueue([new()]))
    assert claim(database, ask).jobs == []
    assert ask(database.workers()) == []
    assert len(claim(database, ask, worker="v").jobs) == 1


def test_one_worker_of_the_queue_is_told_of_each_death_once(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [new() for _ in range(3)]
    ask(database.enqueue(jobs))
    claim(database, ask, 1)
    ask(database.leave("w", crash=Crash(how="signal 9")))
    claim(database, ask, 2, worker="v")
    recovered(database, ask, clock)

    def told(queue: str, limit: int = 10) -> list[Death]:
        beat = ask(database.heartbeat("u", lease=LEASE, info=b"{}", queues=[queue], limit=limit))
        return sorted(beat.deaths)

    assert told("other") == []
    assert told("mail", limit=0) == []
    first, second = jobs[0].jid, jobs[1].jid
    assert told("mail") == sorted([Death(first, 1), Death(first, 2), Death(second, 1)])
    assert told("mail") == []


def test_a_ring_that_a_dead_caller_heard_takes_no_job_with_it(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    dead = database.connect()
    assert dead.wait(["mail"], 5) is not None
    dead.close()
    assert len(claim(database, ask).jobs) == 1


def test_a_claim_asked_again_late_gives_what_it_took_back_uncharged(database: Database, ask: Ask) -> None:
    """The worker had given up on that question; its heartbeat shows it a job that it knows nothing of."""
    ask(database.enqueue([new()]))
    late = os.urandom(16)
    claim(database, ask, 0)
    ask(database.claim(["mail"], "w", late, limit=1, lease=LEASE))
    stranger = ask(database.heartbeat("w", lease=LEASE, info=b"{}")).held[0]
    assert stranger.token == late
    given_back = Outcome(jid=stranger.jid, token=stranger.token, move=Move.RELEASE)
    assert ask(database.settle("w", [given_back])) == [True]
    found = find(database, ask, stranger.jid)
    assert (found.state, found.attempt, found.crashes) == (State.QUEUED, 0, 0)


def test_a_claim_that_comes_late_takes_nothing_once_another_was_made(database: Database, ask: Ask) -> None:
    """Or its token would name two claims, and an outcome of the first would count for the second."""
    first, second, third = (os.urandom(16) for _ in range(3))
    ask(database.enqueue([new()]))
    claimed = ask(database.claim(["mail"], "w", second, limit=1, lease=LEASE, after=first)).jobs[0]
    assert ask(database.claim(["mail"], "w", third, limit=1, lease=LEASE, after=second)).jobs == []
    retry = Outcome(jid=claimed.jid, token=second, move=Move.RELEASE)
    assert ask(database.settle("w", [retry])) == [True]
    assert ask(database.claim(["mail"], "w", second, limit=1, lease=LEASE, after=first)).jobs == []
    assert ask(database.settle("w", [retry])) == [False]
    assert find(database, ask, claimed.jid).state is State.QUEUED


def test_a_worker_goes_on_claiming_after_a_claim_of_its_own_came_late(database: Database, ask: Ask) -> None:
    tokens = [os.urandom(16) for _ in range(5)]
    ask(database.enqueue([new()]))
    ask(database.pause(["mail"]))
    for token, after in ((tokens[1], tokens[0]), (tokens[2], tokens[1]), (tokens[1], tokens[0])):
        assert ask(database.claim(["mail"], "w", token, limit=1, lease=LEASE, after=after)).jobs == []
    ask(database.resume(["mail"]))
    assert ask(database.claim(["mail"], "w", tokens[3], limit=1, lease=LEASE, after=tokens[2])).jobs == []
    assert len(ask(database.claim(["mail"], "w", tokens[4], limit=1, lease=LEASE, after=tokens[3])).jobs) == 1


def test_a_claim_that_comes_late_answers_what_is_still_held_under_it(database: Database, ask: Ask) -> None:
    first, second = os.urandom(16), os.urandom(16)
    ask(database.enqueue([new(), new(), new()]))
    held = ask(database.claim(["mail"], "w", first, limit=1, lease=LEASE)).jobs[0]
    ask(database.claim(["mail"], "w", second, limit=1, lease=LEASE))
    assert [it.jid for it in ask(database.claim(["mail"], "w", first, limit=1, lease=LEASE)).jobs] == [held.jid]
    beat = ask(database.heartbeat("w", lease=LEASE, info=b"{}"))
    assert {it.token for it in beat.held} == {first, second}
    assert ask(database.counts()).queued == 1
