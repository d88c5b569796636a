"""Taking jobs back: never too early, never twice, never stuck; and what waits is never held by anyone."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from procession.database import Database, Query
from procession.errors import ConfigError
from procession.job import Outcome, State, new_jid
from procession.moves import Move
from procession.registry import check_priority
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, Ask, claim, find, new, settle

WORKERS = ("a", "b", "c", "d", "e")


def beat(database: Database, ask: Ask, worker: str, **fields: Any) -> Any:
    return ask(database.heartbeat(worker, lease=LEASE, info=b"{}", queues=("mail",), limit=100, **fields))


def test_a_job_due_in_an_hour_is_held_by_nobody_while_workers_come_and_go_and_runs_once(
    database: Database, ask: Ask, clock: Clock
) -> None:
    job = new(delay=3_600_000)
    ask(database.enqueue([job]))
    due = clock.now + 3_600_000
    for turn in range(100):
        worker = f"{WORKERS[turn % 5]}{turn // 20}"
        before = clock.now < due
        assert len(claim(database, ask, worker=worker).jobs) == 0
        beat(database, ask, worker)
        if not before:
            break
        assert [it.running for it in ask(database.workers())].count(0) == len(ask(database.workers()))
        if turn % 7 == 0:
            ask(database.leave(worker))
        clock.pass_(min(60_000, due - clock.now))
    assert clock.now == due
    claimed = [it for worker in WORKERS for it in claim(database, ask, worker=worker).jobs]
    assert [(it.jid, it.attempt) for it in claimed] == [(job.jid, 1)]


def test_looking_for_the_dead_all_the_time_takes_nothing_from_the_living(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new() for _ in range(200)]))
    claimed = {worker: claim(database, ask, 40, worker=worker).jobs for worker in WORKERS}
    for tick in range(600):
        clock.pass_(10)
        assert ask(database.recover(100, lease=LEASE)) == []
        if tick % 300 == 0:
            for worker in WORKERS:
                beat(database, ask, worker)
    for worker, jobs in claimed.items():
        outcomes = [Outcome(jid=it.jid, token=it.token, move=Move.PROCESS) for it in jobs]
        assert all(ask(database.settle(worker, outcomes)))
        assert {job.attempt for job in jobs} == {1}
    assert ask(database.counts()).recovered == 0


def test_a_successor_on_the_same_host_does_not_keep_the_jobs_of_its_predecessor(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new()]))
    held = claim(database, ask, worker="pod-0:1:aaaa").jobs
    recovered = 0
    for _ in range(6):
        recovered += beat(database, ask, "pod-0:1:bbbb").recovered
        clock.pass_(3_800)
    assert recovered == 1
    assert find(database, ask, held[0].jid).state is State.QUEUED
    assert [it.id for it in ask(database.workers())] == ["pod-0:1:bbbb"]


def test_two_who_look_for_the_dead_at_once_take_each_job_once(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new() for _ in range(100)]))
    for worker in WORKERS:
        claim(database, ask, 20, worker=worker)
    ask(database.recover(1, lease=LEASE))
    for _ in range(4):
        clock.pass_(LEASE // 4)
        ask(database.recover(0, lease=LEASE))
    clock.pass_(1)
    taken: list[Any] = []

    def look() -> None:
        connection: Any = database.connect()
        for _ in range(20):
            taken.extend(connection.ask(database.recover(7, lease=LEASE)))
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 100
    assert ask(database.workers()) == []


def test_one_who_looked_and_vanished_leaves_no_lock_behind(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new() for _ in range(10)]))
    claim(database, ask, 10, worker="dead")
    for _ in range(5):
        ask(database.recover(0, lease=LEASE))  # as if cut off before it took anything
        clock.pass_(LEASE // 4)
    assert len(ask(database.recover(4, lease=LEASE))) == 4  # and this one after it had taken some
    assert len(ask(database.recover(100, lease=LEASE))) == 6


def test_jobs_cancelled_while_no_worker_runs_never_run(database: Database, ask: Ask, clock: Clock) -> None:
    ready, scheduled, retried = new(), new(delay=1_000), new(priority=1)
    ask(database.enqueue([ready, scheduled, retried]))
    settle(database, ask, claim(database, ask, 1).jobs[0], Move.RETRY, delay=1_000)
    ask(database.leave("w"))
    states = ask(database.cancel([ready.jid, scheduled.jid, retried.jid]))
    assert states == [State.QUEUED, State.DELAYED, State.DELAYED]
    clock.pass_(10_000)
    beat(database, ask, "w")
    assert claim(database, ask).jobs == []
    assert {find(database, ask, it.jid).state for it in (ready, scheduled, retried)} == {State.CANCELLED}
    assert ask(database.counts()).cancelled == 3


@pytest.mark.parametrize("first", ["cancel", "retry"])
def test_cancel_and_retry_of_a_running_job_at_the_same_moment_end_in_one_cancellation(
    database: Database, ask: Ask, first: str
) -> None:
    ask(database.enqueue([new()]))
    job = claim(database, ask).jobs[0]
    verbs = {"cancel": lambda: ask(database.cancel([job.jid])), "retry": lambda: ask(database.retry([job.jid]))}
    for name in (first, *({"cancel", "retry"} - {first})):
        assert verbs[name]() == [State.RUNNING]
    settle(database, ask, job, Move.RETRY, delay=1)
    assert find(database, ask, job.jid).state is State.CANCELLED
    assert ask(database.counts()).cancelled == 1


def test_order_is_kept_by_priority_and_within_it_through_retries_and_recoveries(
    database: Database, ask: Ask, clock: Clock
) -> None:
    levels = (-1, 0, 5, 100)
    jobs = [new(priority=levels[n % 4], jid=UUID(int=n + 1)) for n in range(400)]
    ask(database.enqueue(jobs))
    priority = {job.jid: job.priority for job in jobs}
    place = {job.jid: n for n, job in enumerate(jobs)}
    early = claim(database, ask, 8, worker="early").jobs
    for job in early[:4]:
        settle(database, ask, job, Move.RETRY, worker="early", delay=1)
    ask(database.leave("early"))
    clock.pass_(1)
    ask(database.promote(10))
    order = [job.jid for worker in WORKERS for job in claim(database, ask, 100, worker=worker).jobs]
    assert [priority[jid] for jid in order] == sorted(priority.values(), reverse=True)
    retried = {job.jid for job in early[:4]}
    places = [[place[jid] for jid in order if priority[jid] == level and jid not in retried] for level in levels]
    assert all(it == sorted(it) for it in places)
    assert set(order[96:100]) == retried, "a retry keeps its priority and waits at its end"


def test_a_priority_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError):
        check_priority(101)


def test_a_great_many_waiting_retries_do_not_delay_a_job_that_is_due(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new(delay=3_600_000) for _ in range(1_000)]))
    job = new(delay=1_000)
    ask(database.enqueue([job]))
    clock.pass_(1_000)
    assert beat(database, ask, "w").ready
    assert [it.jid for it in claim(database, ask).jobs] == [job.jid]
    assert len(ask(database.page(Query(state=State.DELAYED), limit=1)).jobs) == 1


def test_a_repeated_token_of_another_worker_is_no_claim(database: Database, ask: Ask) -> None:
    token = new_jid().bytes
    ask(database.enqueue([new(), new()]))
    first = ask(database.claim(["mail"], "a", token, limit=1, lease=LEASE)).jobs
    second = ask(database.claim(["mail"], "b", token, limit=1, lease=LEASE)).jobs
    assert {it.jid for it in first}.isdisjoint(it.jid for it in second)


@pytest.mark.parametrize("how", ["leave", "recover"])
def test_jobs_are_taken_back_in_the_order_in_which_they_were_claimed_whatever_their_ids(
    database: Database, ask: Ask, clock: Clock, how: str
) -> None:
    jobs = sorted((new() for _ in range(30)), key=lambda job: job.jid, reverse=True)
    ask(database.enqueue(jobs))
    ask(database.recover(1, lease=LEASE))
    for _ in range(3):
        claim(database, ask, 8)
        clock.pass_(1)
    if how == "leave":
        ask(database.leave("w"))
    else:
        clock.pass_(LEASE // 3)
        ask(database.recover(1, lease=LEASE))
        clock.pass_(LEASE // 3)
        ask(database.recover(1, lease=LEASE))
        clock.pass_(LEASE // 3)
        assert len(ask(database.recover(100, lease=LEASE))) == 24
    assert [it.jid for it in claim(database, ask, 100, worker="v").jobs] == [job.jid for job in jobs]
