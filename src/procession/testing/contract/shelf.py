"""The calm verbs, sentence by sentence of their docstrings."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from uuid import UUID

import msgspec
import pytest

from procession.database import Claims, Database, Page, Query
from procession.errors import ConfigError
from procession.job import Crash, State, new_jid
from procession.limits import Slot
from procession.moves import Move
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, Ask, claim, find, new, settle


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("cursor", ["zz", "5:zz", "-1", "1e400:", "after:1", "\u0662"])
def test_a_cursor_that_no_page_returned_is_refused_before_anything_is_asked(
    database: Database, state: State, cursor: str
) -> None:
    with pytest.raises(ConfigError, match="leave it out to begin anew"):
        database.page(Query(state=state), cursor=cursor)


@pytest.mark.parametrize("state", State)
def test_pages_of_each_state_follow_from_each_other_s_cursors(
    database: Database, ask: Ask, clock: Clock, state: State
) -> None:
    limited = new(slot=Slot(limit=bytes(range(16)), most=1))
    waiting = {State.DELAYED: [new(delay=5_000 + n) for n in range(5)]}
    waiting[State.BLOCKED] = [limited, *(msgspec.structs.replace(limited, jid=new_jid()) for _ in range(5))]
    ask(database.enqueue(waiting.get(state) or [new() for _ in range(5)]))
    ends = {State.PROCESSED: Move.PROCESS, State.FAILED: Move.FAIL, State.CANCELLED: Move.DISCARD}
    for job in claim(database, ask).jobs if state is State.RUNNING or state in ends else []:
        assert state is State.RUNNING or settle(database, ask, job, ends[state])
    seen: list[UUID] = []
    cursor = None
    while not seen or cursor:
        page = ask(database.page(Query(state=state), cursor=cursor, limit=2))
        seen, cursor = seen + [job.jid for job in page.jobs], page.cursor
    assert (len(seen), len({*seen})) == (5, 5)
    for queue in (None, "mail"):
        assert ask(database.page(Query(state=state, queue=queue), limit=0)) == Page(jobs=[], cursor=None)


def test_pages_of_delayed_jobs_hold_each_that_stays_though_those_before_it_have_left(
    database: Database, ask: Ask
) -> None:
    ask(database.enqueue(there := [new(delay=5_000 + n) for n in range(6)]))
    first = ask(database.page(Query(state=State.DELAYED), limit=3))
    ask(database.cancel([it.jid for it in there[:2]]))
    rest = ask(database.page(Query(state=State.DELAYED), cursor=first.cursor, limit=10))
    assert [job.jid for job in rest.jobs] == [it.jid for it in there[3:]]


def test_pages_of_running_jobs_hold_each_that_stays_though_those_before_it_have_ended(
    database: Database, ask: Ask
) -> None:
    ask(database.enqueue([new() for _ in range(6)]))
    running = sorted(claim(database, ask, 6).jobs, key=lambda it: it.jid)
    first = ask(database.page(Query(state=State.RUNNING), limit=3))
    for job in running[:2]:
        settle(database, ask, job, Move.PROCESS)
    rest = ask(database.page(Query(state=State.RUNNING), cursor=first.cursor, limit=10))
    assert [job.jid for job in rest.jobs] == [it.jid for it in running[3:]]


@pytest.mark.parametrize("comes", [True, False])
def test_pages_of_finished_jobs_hold_each_that_stays_once_though_newer_ones_come_and_go(
    database: Database, ask: Ask, comes: bool
) -> None:
    ask(database.enqueue(there := [new() for _ in range(6)]))
    ask(database.cancel([it.jid for it in there]))
    first = ask(database.page(Query(state=State.CANCELLED), limit=3))
    if comes:
        ask(database.enqueue([late := new()]))
        ask(database.cancel([late.jid]))
    else:
        ask(database.remove([it.jid for it in there[4:]]))
    rest = ask(database.page(Query(state=State.CANCELLED), cursor=first.cursor, limit=10))
    assert [job.jid for job in rest.jobs] == [it.jid for it in there[2::-1]]


def test_find_answers_in_order_and_none_for_a_stranger(database: Database, ask: Ask) -> None:
    jobs = [new(), new()]
    ask(database.enqueue(jobs))
    found = ask(database.find([jobs[1].jid, new_jid(), jobs[0].jid]))
    assert [it and it.jid for it in found] == [jobs[1].jid, None, jobs[0].jid]


def test_a_record_that_cannot_be_decoded_is_shown_with_its_bytes(database: Database, ask: Ask) -> None:
    job = new(spec=b"\xff not json")
    ask(database.enqueue([job]))
    found = find(database, ask, job.jid)
    assert (found.name, found.raw, found.state) == ("", b"\xff not json", State.QUEUED)


def test_cancel_ends_waiting_jobs_at_once_and_for_good(database: Database, ask: Ask) -> None:
    jobs = [new(), new(delay=5_000)]
    ask(database.enqueue(jobs))
    assert ask(database.cancel([job.jid for job in jobs] + [new_jid()])) == [State.QUEUED, State.DELAYED, None]
    assert claim(database, ask).jobs == []
    assert find(database, ask, jobs[0].jid).reason == "cancelled"
    assert ask(database.cancel([jobs[0].jid])) == [State.CANCELLED]
    assert ask(database.counts()).cancelled == 2


def test_cancel_answers_as_it_found_them_those_that_it_pushes_out(database: Database, ask: Ask) -> None:
    old = [new() for _ in range(20)]
    ask(database.enqueue([*old, job := new()]))
    ask(database.cancel([it.jid for it in old]))
    assert ask(database.cancel([job.jid, old[0].jid])) == [State.QUEUED, State.CANCELLED]
    assert ask(database.find([old[0].jid])) == [None]


def test_cancel_of_a_running_job_wins_over_its_retry_and_loses_against_its_success(
    database: Database, ask: Ask
) -> None:
    ask(database.enqueue([new(), new()]))
    first, second = claim(database, ask).jobs
    assert ask(database.cancel([first.jid, second.jid], "enough")) == [State.RUNNING, State.RUNNING]
    assert [it.cancel for it in ask(database.heartbeat("w", lease=LEASE, info=b"{}")).held] == [True, True]
    settle(database, ask, first, Move.RETRY, delay=10)
    settle(database, ask, second, Move.PROCESS)
    assert (find(database, ask, first.jid).state, find(database, ask, first.jid).reason) == (State.CANCELLED, "enough")
    assert find(database, ask, second.jid).state is State.PROCESSED


def test_a_long_reason_is_cut_between_two_letters(database: Database, ask: Ask) -> None:
    reason, jobs = "€" * 250, [new(), new()]
    ask(database.enqueue(jobs))
    settle(database, ask, claim(database, ask, 1).jobs[0], Move.FAIL, reason=reason)
    ask(database.cancel([jobs[1].jid], reason))
    kept = [it.reason for it in ask(database.find([it.jid for it in jobs]))]
    assert [it == reason[: len(it)] and len(it) >= 66 for it in kept] == [True, True]


def test_cancel_of_a_running_job_wins_over_its_recovery(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs[0]
    ask(database.cancel([claimed.jid]))
    ask(database.leave("w", crash=Crash(how="signal 9")))
    assert find(database, ask, claimed.jid).state is State.CANCELLED


def test_retry_queues_finished_jobs_anew_and_leaves_others(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(), new()]))
    claimed = claim(database, ask, 1).jobs[0]
    waiting = ask(database.peek("mail"))[0].jid
    settle(database, ask, claimed, Move.FAIL, failure=b'{"attempt":1,"type":"E","message":"m"}')
    assert ask(database.retry([claimed.jid, waiting, new_jid()])) == [State.FAILED, State.QUEUED, None]
    found = find(database, ask, claimed.jid)
    assert (found.state, found.attempt, found.crashes, len(found.failures)) == (State.QUEUED, 0, 0, 1)
    assert not settle(database, ask, claimed, Move.PROCESS)


def test_remove_forgets_all_but_running_jobs(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(), new(), new(delay=9_000)]))
    claimed = claim(database, ask, 1).jobs[0]
    queued = ask(database.peek("mail"))[0].jid
    delayed = ask(database.page(Query(state=State.DELAYED))).jobs[0].jid
    states = ask(database.remove([claimed.jid, queued, delayed, new_jid()]))
    assert states == [State.RUNNING, State.QUEUED, State.DELAYED, None]
    assert [it is None for it in ask(database.find([claimed.jid, queued, delayed]))] == [False, True, True]
    assert claim(database, ask).jobs == []


def test_a_removed_jid_can_be_enqueued_again_elsewhere(database: Database, ask: Ask) -> None:
    job = new()
    ask(database.enqueue([job]))
    ask(database.remove([job.jid]))
    ask(database.enqueue([new(jid=job.jid, queue="other")]))
    assert claim(database, ask).jobs == []
    assert [it.jid for it in claim(database, ask, queues=("other",)).jobs] == [job.jid]


@pytest.mark.parametrize("ageing", [0, 1_000])
def test_a_removed_jid_that_is_enqueued_again_is_one_job(
    database: Database, ask: Ask, clock: Clock, ageing: int
) -> None:
    job, above = new(), new(priority=1)
    for _ in range(3):
        ask(database.enqueue([job]))
        ask(database.remove([job.jid]))
    ask(database.enqueue([job]))
    clock.pass_(2_000)
    ask(database.enqueue([above]))
    page = ask(database.page(Query(state=State.QUEUED), limit=10))
    assert sorted(it.jid for it in page.jobs) == sorted([job.jid, above.jid])
    assert [it.jid for it in ask(database.peek("mail", limit=5))] == [above.jid, job.jid]
    claims = ask(database.claim(["mail"], "w", os.urandom(16), limit=10, lease=LEASE, ageing=ageing))
    assert [it.jid for it in claims.jobs] == ([job.jid, above.jid] if ageing else [above.jid, job.jid])
    assert claim(database, ask).jobs == []
    assert (ask(database.counts()).queued, ask(database.counts()).running) == (0, 2)


def test_pages_are_newest_first_and_filtered(database: Database, ask: Ask, clock: Clock) -> None:
    jobs = [new(queue="a" if n % 2 else "b") for n in range(6)]
    ask(database.enqueue(jobs))
    for claimed in claim(database, ask, queues=("b", "a")).jobs:
        clock.pass_(1)
        settle(database, ask, claimed, Move.FAIL)
    page = ask(database.page(Query(state=State.FAILED), limit=4))
    assert [job.finish_at for job in page.jobs] == sorted((job.finish_at for job in page.jobs), reverse=True)
    rest = ask(database.page(Query(state=State.FAILED), cursor=page.cursor, limit=4))
    assert (len(page.jobs), len(rest.jobs), rest.cursor) == (4, 2, None)
    assert len(ask(database.page(Query(state=State.FAILED, queue="a"))).jobs) == 3
    assert len(ask(database.page(Query(state=State.FAILED, name="app.f"))).jobs) == 6
    assert ask(database.page(Query(state=State.FAILED, name="app.g"))).jobs == []


def test_jobs_that_finish_in_the_same_millisecond_keep_their_order(database: Database, ask: Ask) -> None:
    jobs = [new() for _ in range(25)]
    ask(database.enqueue(jobs))
    ask(database.cancel([job.jid for job in jobs[::-1]]))
    kept = [job.jid for job in ask(database.page(Query(state=State.CANCELLED))).jobs]
    assert kept == [job.jid for job in jobs[:20]]


def test_peek_looks_at_both_ends_and_takes_nothing(database: Database, ask: Ask) -> None:
    jobs = [new(), new(), new(priority=9)]
    ask(database.enqueue(jobs))
    assert [it.jid for it in ask(database.peek("mail", limit=5))] == [jobs[2].jid, jobs[0].jid, jobs[1].jid]
    assert [it.jid for it in ask(database.peek("mail", rear=True))] == [jobs[1].jid]
    assert ask(database.peek("empty")) == []
    assert ask(database.counts()).queued == 3


def test_purge_takes_queued_jobs_only(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(), new(), new(), new(delay=5_000), new(queue="other")]))
    claim(database, ask, 1)
    assert ask(database.purge("mail", 1)) == 1
    assert ask(database.purge("mail", 10)) == 1
    counts = ask(database.counts())
    assert (counts.queued, counts.delayed, counts.running) == (1, 1, 1)


def test_the_first_and_the_oldest_are_found_behind_many_that_are_gone(
    database: Database, ask: Ask, clock: Clock
) -> None:
    gone, there = [new() for _ in range(2_500)], [new(), new()]
    ask(database.enqueue(gone[:1_500]))
    clock.pass_(500)
    ask(database.enqueue([*there, *gone[1_500:]]))
    ask(database.cancel([it.jid for it in gone]))
    (found,) = ask(database.queues())
    assert (found.queued, found.oldest) == (2, clock.now)
    assert [it.jid for it in ask(database.peek("mail", limit=3))] == [it.jid for it in there]
    assert [it.jid for it in ask(database.peek("mail", limit=1, rear=True))] == [there[1].jid]


def test_a_page_of_queued_jobs_is_full_however_many_before_them_are_gone(database: Database, ask: Ask) -> None:
    gone, there = [new() for _ in range(500)], [new() for _ in range(5)]
    ask(database.enqueue([*gone[:250], *there[:3], *gone[250:], *there[3:]]))
    ask(database.cancel([it.jid for it in gone]))
    pages: list[list[UUID]] = []
    cursor = None
    while not pages or cursor:
        page = ask(database.page(Query(state=State.QUEUED), cursor=cursor, limit=2))
        pages.append([it.jid for it in page.jobs])
        cursor = page.cursor
    assert pages == [[it.jid for it in some] for some in (there[:2], there[2:4], there[4:])]


@pytest.mark.parametrize("claimed", [1, 3, 5, 8])
def test_pages_of_queued_jobs_hold_each_that_stays_once_whatever_is_claimed_between_them(
    database: Database, ask: Ask, claimed: int
) -> None:
    urgent = [new(priority=5) for _ in range(2)]
    there = [*urgent, *(new() for _ in range(10)), *(new(queue="other") for _ in range(2))]
    ask(database.enqueue(there))
    first = ask(database.page(Query(state=State.QUEUED), limit=5))
    ask(database.claim(["mail"], "w", os.urandom(16), limit=claimed, lease=LEASE))
    ask(database.enqueue([new(priority=5), late := new()]))
    second = ask(database.page(Query(state=State.QUEUED), cursor=first.cursor, limit=3))
    ask(database.cancel([second.jobs[-1].jid]))
    ask(database.claim(["mail"], "w", os.urandom(16), limit=1, lease=LEASE))
    third = ask(database.page(Query(state=State.QUEUED), cursor=second.cursor, limit=50))
    seen = [job.jid for page in (first, second, third) for job in page.jobs]
    assert seen == [it.jid for it in (*there[:5], *there[max(5, claimed) : 12], late, *there[12:])]


def test_a_page_of_queued_jobs_leaves_none_out_where_the_last_before_it_was_claimed_and_waits_again(
    database: Database, ask: Ask
) -> None:
    ask(database.enqueue(there := [new() for _ in range(20)]))
    first = ask(database.page(Query(state=State.QUEUED), limit=5))
    for claimed in claim(database, ask, 8).jobs:
        settle(database, ask, claimed, Move.RETRY)
    ask(database.promote(10))
    second = ask(database.page(Query(state=State.QUEUED), cursor=first.cursor, limit=12))
    assert [job.jid for job in second.jobs] == [it.jid for it in there[8:]]


def test_purge_goes_on_past_jobs_that_are_gone(database: Database, ask: Ask) -> None:
    gone, there = [new() for _ in range(250)], [new(), new()]
    ask(database.enqueue([*gone, *there]))
    ask(database.cancel([it.jid for it in gone]))
    assert ask(database.purge("mail", 0)) == 0
    assert ask(database.purge("mail", 1)) == 1
    assert ask(database.purge("mail", 1)) == 1
    assert ask(database.purge("mail", 1)) == 0


def test_queues_tell_depth_age_and_pause(database: Database, ask: Ask, clock: Clock) -> None:
    since = clock.now
    ask(database.enqueue([new()]))
    clock.pass_(100)
    ask(database.pause(["other"], "moving house"))
    mail, other = ask(database.queues())
    assert (mail.name, mail.queued, mail.oldest, mail.paused) == ("mail", 1, since, False)
    assert (other.name, other.queued, other.paused, other.reason) == ("other", 0, True, "moving house")
    assert other.paused_at == clock.now


@pytest.mark.parametrize("move", [None, Move.RETRY, Move.RELEASE])
def test_a_queue_tells_since_when_its_first_job_is_ready_and_not_how_old_that_is(
    database: Database, ask: Ask, clock: Clock, move: Move | None
) -> None:
    job = new(delay=0 if move else 3_600_000)
    ask(database.enqueue([job]))
    clock.pass_(3_600_000)
    if move:
        settle(database, ask, claim(database, ask).jobs[0], move)
    ask(database.promote(10))
    ready = clock.now
    clock.pass_(250)
    assert [(it.queued, it.oldest) for it in ask(database.queues())] == [(1, ready)]


def test_counts_follow_every_move(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new() for _ in range(3)] + [new(delay=1_000)]))
    first, second, _third = claim(database, ask).jobs
    settle(database, ask, first, Move.PROCESS)
    settle(database, ask, second, Move.RETRY, delay=10)
    counts = ask(database.counts())
    assert (counts.enqueued, counts.processed, counts.running, counts.delayed, counts.retried) == (4, 1, 1, 2, 1)


def test_a_waiting_caller_is_rung_when_a_job_becomes_final(database: Database, ask: Ask) -> None:
    job = new()
    ask(database.enqueue([job]))
    assert ask(database.watch([job.jid, new_jid()], "me")) == [State.QUEUED, None]
    connection = database.connect()
    heard: list[str | None] = []
    thread = threading.Thread(target=lambda: heard.append(connection.wait(["@me"], 5)))
    thread.start()
    settle(database, ask, claim(database, ask).jobs[0], Move.PROCESS)
    thread.join()
    assert heard == ["@me"]
    assert ask(database.watch([job.jid], "me")) == [State.PROCESSED]
    connection.close()


def test_an_enqueue_rings_the_bell_of_its_queue_even_before_anyone_listens(database: Database, ask: Ask) -> None:
    connection = database.connect()
    ask(database.enqueue([new(), new()]))
    assert connection.wait(["other", "mail"], 5) == "mail"
    started = time.monotonic()
    assert connection.wait(["other", "mail"], 0.05) is None
    assert time.monotonic() - started >= 0.04
    connection.close()


def test_a_question_behind_a_wait_is_asked_as_it_ends(database: Database, ask: Ask) -> None:
    job, connection = new(), database.connect()
    claims = [database.claim(["mail"], "w", token * 16, limit=5, lease=LEASE) for token in (b"a", b"b")]
    heard: list[tuple[str | None, Claims]] = [connection.wait_then_ask(["other", "mail"], 0.05, claims[0])]
    thread = threading.Thread(
        target=lambda: heard.append(connection.wait_then_ask(["other", "mail"], 5, claims[1]))
    )
    thread.start()
    time.sleep(0.05)
    ask(database.enqueue([job]))
    thread.join()
    assert [(bell, [it.jid for it in claimed.jobs]) for bell, claimed in heard] == [(None, []), ("mail", [job.jid])]
    connection.close()


def test_a_question_behind_a_wait_of_a_loop_is_asked_as_it_ends(database: Database, ask: Ask) -> None:
    job = new()

    async def wait() -> list[tuple[str | None, list[UUID]]]:
        connection, heard = database.connect_async(), []
        for enqueued in ([], [job]):
            claims = database.claim(["mail"], "w", new_jid().bytes, limit=5, lease=LEASE)
            waiting = asyncio.ensure_future(connection.wait_then_ask(["other", "mail"], 0.3, claims))
            await asyncio.sleep(0.05)
            if enqueued:
                await asyncio.to_thread(ask, database.enqueue(enqueued))
            bell, claimed = await waiting
            heard.append((bell, [it.jid for it in claimed.jobs]))
        await connection.close()
        return heard

    assert asyncio.run(wait()) == [(None, []), ("mail", [job.jid])]


def test_flush_leaves_nothing(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(), new(delay=9)]))
    claim(database, ask)
    ask(database.flush())
    assert ask(database.counts()).enqueued == 0
    assert ask(database.queues()) == []
