"""Limits: a slot is taken when a job becomes ready and given back when it no longer is, exactly once, on every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from procession.database import Database, Occupancy, Query
from procession.job import NewJob, State, Stored, new_jid
from procession.limits import Slot
from procession.moves import Move
from procession.schedule import Schedule, due, planned
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, claim, find, settle
from procession.unique import Unique

Ask = Callable[..., Any]
LIMIT, OTHER = b"l" * 16, b"m" * 16


def new(limit: bytes | None = LIMIT, most: int = 1, **words: Any) -> NewJob:
    """A new job under a limit."""
    slot = None if limit is None else Slot(limit=limit, most=most)
    return NewJob(**{"jid": new_jid(), "spec": b'["app.f",{}]', "queue": "mail", "slot": slot, **words})


def enqueue(database: Database, ask: Ask, *jobs: NewJob) -> list[UUID]:
    ask(database.enqueue(jobs))
    return [job.jid for job in jobs]


def states(database: Database, ask: Ask, jids: list[UUID]) -> str:
    """The first letters of the states, `-` for a job that is gone."""
    return "".join("-" if job is None else job.state.value[0] for job in ask(database.find(jids)))


def test_a_claim_that_finds_nothing_but_what_expired_says_that_its_slot_may_be_anothers(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jids = enqueue(database, ask, new(expires_in=1_000), new())
    clock.pass_(1_000)
    claims = claim(database, ask, limit=10)
    assert (claims.jobs, claims.more) == ([], True)
    assert states(database, ask, jids) == "cq"
    claims = claim(database, ask, limit=10)
    assert ([it.jid for it in claims.jobs], claims.more) == ([jids[1]], False)


def test_no_more_than_the_slots_are_ready_or_run_and_the_rest_wait_in_order(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, *(new(most=2) for _ in range(5)), new(OTHER), new(None))
    assert states(database, ask, jids) == "qqbbbqq"
    assert ask(database.counts()).blocked == 3
    claimed = claim(database, ask, limit=10).jobs
    assert [it.jid for it in claimed] == [jids[0], jids[1], jids[5], jids[6]]
    assert claim(database, ask, limit=10).jobs == []
    settle(database, ask, claimed[1], Move.PROCESS)
    assert states(database, ask, jids) == "rpqbbrr"
    settle(database, ask, claimed[0], Move.PROCESS)
    assert [it.jid for it in claim(database, ask, limit=10).jobs] == [jids[2], jids[3]]


def test_the_highest_priority_waits_least_then_who_came_first(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, new())
    found = claim(database, ask).jobs
    jids += enqueue(database, ask, new(), new(priority=5), new(priority=-5), new(priority=5))
    order = []
    while found:
        (job,) = found
        order.append(jids.index(job.jid))
        settle(database, ask, job, Move.PROCESS)
        found = claim(database, ask).jobs
    assert order == [0, 2, 4, 1, 3]


def test_a_more_urgent_job_takes_the_slot_of_one_that_is_not_begun(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, new(), new(), new(priority=3), new(priority=5), new(priority=5))
    assert states(database, ask, jids) == "bbbqb"
    (urgent,) = claim(database, ask).jobs
    jids += enqueue(database, ask, new(priority=9))
    assert states(database, ask, jids) == "bbbrbb", "what runs is not disturbed"
    order = []
    settle(database, ask, urgent, Move.PROCESS)
    while found := claim(database, ask).jobs:
        (job,) = found
        order.append(jids.index(job.jid))
        settle(database, ask, job, Move.PROCESS)
    assert order == [5, 4, 2, 0, 1], "and who made way is the first of its priority"


def test_of_several_the_least_urgent_makes_way_and_of_these_the_youngest(database: Database, ask: Ask) -> None:
    numbered = [new(most=3, jid=UUID(int=number), priority=priority) for number, priority in enumerate((1, 0, 0))]
    jids = enqueue(database, ask, *numbered, new(most=3), new(most=3, priority=1))
    assert states(database, ask, jids) == "qqbbq"


def queued(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    """As it was enqueued."""


def running(database: Database, ask: Ask, clock: Clock, jid: UUID) -> Any:
    (job,) = claim(database, ask, limit=10).jobs
    assert job.jid == jid
    return job


def ended(move: Move, **words: Any) -> Callable[..., None]:
    """One way out of `running`."""

    def end(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
        settle(database, ask, running(database, ask, clock, jid), move, **words)

    end.__name__ = move.value
    return end


def recovered(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    (job,) = claim(database, ask, worker=f"dies {clock.now}").jobs
    assert job.jid == jid
    ask(database.leave(f"dies {clock.now}"))
    clock.pass_(1)


def lease_ended(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    ask(database.recover(10, lease=LEASE))
    running(database, ask, clock, jid)
    for _ in range(6):
        clock.pass_(LEASE // 3)
        ask(database.recover(10, lease=LEASE))


def poisoned(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    for _ in range(3):
        recovered(database, ask, clock, jid)


def cancelled(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    ask(database.cancel([jid]))


def cancelled_while_it_runs(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    job = running(database, ask, clock, jid)
    cancelled(database, ask, clock, jid)
    settle(database, ask, job, Move.RELEASE)


def removed(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    ask(database.remove([jid]))


def purged(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    assert ask(database.purge("mail", 10)) == 1


def expired(database: Database, ask: Ask, clock: Clock, jid: UUID) -> None:
    clock.pass_(60_000)
    assert claim(database, ask, limit=10).jobs == []


processed = ended(Move.PROCESS)
WAYS: dict[Callable[..., Any], str] = {
    queued: "q",
    running: "r",
    processed: "p",
    ended(Move.FAIL): "f",
    ended(Move.DISCARD): "c",
    ended(Move.RETRY, delay=5_000): "d",
    ended(Move.SNOOZE, delay=5_000): "d",
    ended(Move.POSTPONE, delay=5_000): "d",
    ended(Move.RELEASE): "q",
    ended(Move.CRASH): "q",
    recovered: "q",
    lease_ended: "q",
    poisoned: "f",
    cancelled: "c",
    cancelled_while_it_runs: "c",
    removed: "-",
    purged: "-",
    expired: "c",
}
"""What befalls the one that has the slot → where it is then; while it is queued or runs, it keeps the slot."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_slot_goes_to_the_next_exactly_when_its_job_is_no_longer_under_way(
    database: Database, ask: Ask, clock: Clock, way: Callable[..., Any]
) -> None:
    jids = enqueue(database, ask, new(expires_in=60_000), new(), new())
    way(database, ask, clock, jids[0])
    state = WAYS[way]
    assert states(database, ask, jids) == state + ("bb" if state in "qr" else "qb")
    taken = ask(database.occupancy(jids[1:2]))[0]
    assert (taken.most, taken.taken, taken.waiting) == (1, 1, 2 if state in "qr" else 1)


def test_a_retry_asks_again_when_it_is_due_and_waits_behind_those_who_wait(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jids = enqueue(database, ask, new(), new(), new())
    settle(database, ask, claim(database, ask).jobs[0], Move.RETRY, delay=1_000)
    clock.pass_(1_000)
    ask(database.promote(10))
    assert states(database, ask, jids) == "bqb"
    for expected in ["bpq", "qpp", "ppp"]:
        settle(database, ask, claim(database, ask).jobs[0], Move.PROCESS)
        assert states(database, ask, jids) == expected


def test_a_paused_worker_whose_job_was_taken_over_gives_nothing_back(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, new(), new())
    stale = claim(database, ask, worker="paused").jobs[0]
    ask(database.leave("paused"))
    again = claim(database, ask).jobs[0]
    assert again.jid == stale.jid
    assert not settle(database, ask, stale, Move.PROCESS, worker="paused")
    assert not settle(database, ask, stale, Move.RETRY, worker="paused")
    assert states(database, ask, jids) == "rb"
    settle(database, ask, again, Move.PROCESS)
    assert settle(database, ask, again, Move.PROCESS), "a repeated settle is known again"
    assert states(database, ask, jids) == "pq"
    assert ask(database.occupancy(jids[1:]))[0].taken == 1


@pytest.mark.parametrize("end", [Database.cancel, Database.remove], ids=lambda end: end.__name__)
def test_a_blocked_job_can_be_cancelled_and_removed_and_then_takes_no_turn(
    database: Database, ask: Ask, end: Any
) -> None:
    jids = enqueue(database, ask, new(), new(), new())
    assert ask(getattr(database, end.__name__)([jids[1]])) == [State.BLOCKED]
    settle(database, ask, claim(database, ask).jobs[0], Move.PROCESS)
    assert states(database, ask, jids)[2] == "q"
    assert ask(database.counts()).blocked == 0


def test_a_delayed_job_has_no_slot_until_it_is_due(database: Database, ask: Ask, clock: Clock) -> None:
    jids = enqueue(database, ask, new(delay=1_000), new())
    assert states(database, ask, jids) == "dq"
    clock.pass_(1_000)
    ask(database.promote(10))
    assert states(database, ask, jids) == "bq"


def test_a_finished_job_that_is_retried_asks_for_a_slot(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, new(), new())
    settle(database, ask, claim(database, ask).jobs[0], Move.FAIL)
    assert ask(database.retry([jids[0]])) == [State.FAILED]
    assert states(database, ask, jids) == "bq"
    ask(database.remove([jids[1]]))
    assert states(database, ask, jids) == "q-"


def test_the_newest_word_on_the_number_of_slots_counts_at_once(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, new(), new(), new())
    jids += enqueue(database, ask, new(most=3))
    assert states(database, ask, jids) == "qqqb"
    jids += enqueue(database, ask, new(most=1, delay=9_000))
    assert ask(database.occupancy(jids[:1]))[0].most == 1, "that of a job due later, too, while the limit is in use"
    claimed = claim(database, ask, limit=10).jobs
    settle(database, ask, claimed[0], Move.PROCESS)
    settle(database, ask, claimed[1], Move.PROCESS)
    assert states(database, ask, jids) == "pprbd", "lowered: nobody is stopped, and nobody follows until there is room"
    settle(database, ask, claimed[2], Move.PROCESS)
    assert states(database, ask, jids) == "pppqd"


def test_more_slots_than_one_call_hands_on_are_all_used_in_the_end(database: Database, ask: Ask) -> None:
    first = enqueue(database, ask, new())
    for _ in range(2):
        enqueue(database, ask, *(new() for _ in range(600)))
    enqueue(database, ask, new(most=2_000))
    assert ask(database.counts()).queued == 1_001
    ask(database.remove(first))
    assert ask(database.counts()).blocked == 0


def test_where_one_call_cannot_hand_on_all_slots_no_job_that_comes_later_gets_one_first(
    database: Database, ask: Ask
) -> None:
    jids = enqueue(database, ask, new())
    for _ in range(2):
        jids += enqueue(database, ask, *(new() for _ in range(600)))
    jids += enqueue(database, ask, new(most=5_000))
    assert ask(database.counts()).blocked == 201
    jids += enqueue(database, ask, *(new(most=5_000) for _ in range(1_100)))
    assert ask(database.counts()).blocked == 201
    jids += enqueue(database, ask, new(most=5_000, priority=1))
    assert ask(database.counts()).blocked == 0
    assert [it.jid for it in claim(database, ask, limit=5_000).jobs] == [jids[-1], *jids[:-1]]


def test_a_blocked_job_whose_deadline_passes_is_failed_and_leaves_no_turn(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jids = enqueue(database, ask, new(deadline=1_000), new(deadline=1_000), new())
    clock.pass_(1_000)
    ask(database.promote(10))
    assert states(database, ask, jids) == "ffq", "its slot and its turn went with each"


def test_a_retried_job_comes_under_its_limit_and_has_no_deadline_any_more(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jids = enqueue(database, ask, new(deadline=1_000), new())
    ask(database.cancel(jids[:1]))
    ask(database.retry(jids[:1]))
    clock.pass_(1_000)
    ask(database.promote(10))
    assert states(database, ask, jids) == "bq"


def test_a_job_handed_on_by_another_queue_rings_its_own(database: Database, ask: Ask) -> None:
    connection = database.connect()
    jids = enqueue(database, ask, new(), new(queue="images"))
    (job,) = claim(database, ask).jobs
    connection.wait(["images"], 0.01)
    settle(database, ask, job, Move.PROCESS)
    assert connection.wait(["images"], 1.0) == "images"
    assert [it.jid for it in claim(database, ask, queues=("images",)).jobs] == jids[1:]
    connection.close()


def test_blocked_jobs_are_listed_by_limit_and_turn_page_by_page(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, new(), new(OTHER), *(new() for _ in range(3)), new(OTHER, queue="images"))
    found, cursor = [], None
    while True:
        page = ask(database.page(Query(state=State.BLOCKED), cursor=cursor, limit=2))
        found += [job.jid for job in page.jobs]
        if (cursor := page.cursor) is None:
            break
    assert found == jids[2:]
    page = ask(database.page(Query(state=State.BLOCKED, queue="images"), limit=2))
    assert [job.jid for job in page.jobs] == jids[5:]


def test_occupancy_names_holders_and_how_many_get_a_slot_before(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, *(new(most=2) for _ in range(4)), new(None))
    holders = tuple(sorted(jids[:2], key=lambda jid: jid.bytes))
    asked = [jids[0], jids[3], jids[4], new_jid()]
    assert ask(database.occupancy(asked)) == [
        Occupancy(most=2, taken=2, holders=holders, waiting=2),
        Occupancy(most=2, taken=2, holders=holders, waiting=2, ahead=1),
        None,
        None,
    ]


def test_the_wait_for_a_worker_begins_when_a_blocked_job_is_freed(database: Database, ask: Ask, clock: Clock) -> None:
    enqueue(database, ask, new(), new())
    job = claim(database, ask).jobs[0]
    clock.pass_(5_000)
    settle(database, ask, job, Move.PROCESS)
    clock.pass_(200)
    assert claim(database, ask).jobs[0].waited == 200


# Together with unique keys


def keyed(limit: bytes | None = LIMIT, **words: Any) -> NewJob:
    """A job with a unique key that replaces the one who has it."""
    unique = Unique(key=b"k" * 16, conflict="replace")
    return new(limit, unique=unique, **words)


def test_a_blocked_job_holds_its_unique_key_and_takes_over_new_arguments_and_due_time(
    database: Database, ask: Ask, clock: Clock
) -> None:
    jids = enqueue(database, ask, new(), keyed(), new())
    second = keyed(spec=b'["app.f",{"n":2}]')
    assert ask(database.enqueue([second])) == [Stored(jids[1], False)]
    assert find(database, ask, jids[1]).args == {"n": 2}
    assert states(database, ask, jids) == "qbb"
    ask(database.enqueue([keyed(delay=1_000)]))
    assert states(database, ask, jids) == "qdb"
    clock.pass_(1_000)
    ask(database.promote(10))
    assert states(database, ask, jids) == "qbb"
    settle(database, ask, claim(database, ask).jobs[0], Move.PROCESS)
    assert states(database, ask, jids) == "pbq", "who was put off lost his turn"


def test_a_ready_job_that_is_put_off_hands_its_slot_on(database: Database, ask: Ask) -> None:
    jids = enqueue(database, ask, keyed(), new())
    ask(database.enqueue([keyed(delay=1_000)]))
    assert states(database, ask, jids) == "dq"


@pytest.mark.parametrize(
    ("under", "then"), [(OTHER, "bqq"), (None, "qqq"), (LIMIT, "qbq")], ids=["another", "none", "the same"]
)
def test_a_replaced_job_goes_from_its_limit_to_that_of_its_new_arguments(
    database: Database, ask: Ask, under: bytes | None, then: str
) -> None:
    jids = enqueue(database, ask, keyed(), new(), new(OTHER))
    ask(database.enqueue([keyed(under)]))
    assert states(database, ask, jids) == then
    ask(database.enqueue([keyed(LIMIT)]))
    assert states(database, ask, jids) in ("bqq", "qbq")
    for _ in range(3):
        for job in claim(database, ask, limit=10).jobs:
            settle(database, ask, job, Move.PROCESS)
    assert states(database, ask, jids) == "ppp"


def test_in_one_call_a_more_urgent_job_takes_a_slot_though_a_ready_one_was_replaced_and_blocked_before_it(
    database: Database, ask: Ask
) -> None:
    jids = enqueue(database, ask, keyed(None), new())
    jids.append(enqueue(database, ask, keyed(LIMIT), new(priority=9))[1])
    assert states(database, ask, jids) == "bbq"


def test_in_one_call_a_job_that_is_stored_blocked_and_freed_again_is_handed_out_once(
    database: Database, ask: Ask
) -> None:
    first, blocker = keyed(None), new(OTHER)
    jids = enqueue(database, ask, blocker)
    jids += enqueue(database, ask, first, keyed(OTHER), new(OTHER, most=9))[:1]
    assert states(database, ask, jids) == "qq"
    assert [it.jid for it in claim(database, ask, limit=10).jobs if it.jid == first.jid] == [first.jid]


def test_runs_of_a_schedule_come_under_its_limit(database: Database, ask: Ask, clock: Clock) -> None:
    minute = 60_000
    asked = Schedule(name="tick", job="app.tick", every=minute, queue="mail", limit="tick", slots=1)
    ask(database.upsert_schedules([planned(asked, clock.now)]))
    runs = []
    for _ in range(3):
        clock.pass_(minute)
        (info,) = ask(database.due_schedules(10)).schedules
        firing = due(info, clock.now)
        assert ask(database.fire([firing])) == ["fired"]
        runs += [job.jid for _, job in firing.runs]
    assert states(database, ask, runs) == "qbb"
    assert find(database, ask, runs[1]).limit == "tick"
    settle(database, ask, claim(database, ask).jobs[0], Move.PROCESS)
    assert states(database, ask, runs) == "pqb"
