"""Search, bulk changes and the answer to "why?", over every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from procession import search as searching
from procession.bulk import Bulk, Verb
from procession.database import Database
from procession.errors import ConfigError, JobNotFound
from procession.job import UNKNOWN_NAME, Crash, State, new_jid
from procession.limits import Slot
from procession.moves import Move
from procession.query import parse
from procession.search import Found, search
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, Ask, claim, find, new, settle
from procession.why import Why, why

Drive = Callable[[Any], Any]


@pytest.fixture
def drive(ask: Ask) -> Drive:
    """Ask the questions of a generator, as the app does."""

    def drive(steps: Any) -> Any:
        answer = None
        while True:
            try:
                questions = steps.send(answer)
            except StopIteration as end:
                return end.value
            answer = ask(*questions)

    return drive


def spec(name: str, n: int = 0) -> bytes:
    return b'["%s",{"n":%d}]' % (name.encode(), n)


def everything(database: Database, drive: Drive, text: str, limit: int = 50) -> list[UUID]:
    jids, cursor = [], None
    while True:
        found: Found = drive(search(database, text, cursor, limit))
        assert len(found.jobs) <= limit
        jids += [job.jid for job in found.jobs]
        if (cursor := found.cursor) is None:
            return jids


def failed(database: Database, ask: Ask, count: int, name: str = "app.f") -> list[UUID]:
    ask(database.enqueue([new(spec=spec(name, n)) for n in range(count)]))
    claimed = claim(database, ask, limit=count).jobs
    for it in claimed:
        settle(database, ask, it, Move.FAIL, reason="exhausted")
    return [it.jid for it in claimed]


def test_a_search_finds_jobs_of_all_states_by_what_they_are(database: Database, ask: Ask, drive: Drive) -> None:
    done = failed(database, ask, 3)
    jobs = [new(spec=spec("app.g", 7)), new(queue="low"), new(delay=5_000)]
    ask(database.enqueue(jobs))
    queued, low, later = (job.jid for job in jobs)
    assert everything(database, drive, "") == [low, queued, later, *reversed(done)]
    assert everything(database, drive, "state:failed") == [*reversed(done)]
    assert everything(database, drive, "args.n:7 OR queue:low") == [low, queued]
    assert everything(database, drive, "queue:low") == [low]
    assert everything(database, drive, "job:g -state:failed") == [queued]
    assert everything(database, drive, "state:running") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_of_a_search_hold_each_job_once(database: Database, ask: Ask, drive: Drive, limit: int) -> None:
    failed(database, ask, 9)
    jobs = [new(queue=queue, spec=spec("app.f", n)) for queue in ("mail", "low") for n in range(7)]
    ask(database.enqueue(jobs))
    for text, count in (("", 23), ("args.n:>=3", 14), ("args.n:>=3 queue:mail", 10), ("state:failed args.n:<5", 5)):
        found = everything(database, drive, text, limit)
        assert (len(found), len(set(found))) == (count, count), text


def test_a_search_begins_where_it_ended_though_newer_jobs_have_come(database: Database, ask: Ask, drive: Drive) -> None:
    done = failed(database, ask, 6)
    first = drive(search(database, "state:failed args.n:>0", None, 2))
    failed(database, ask, 3)
    rest: Found = drive(search(database, "state:failed args.n:>0", first.cursor, 50))
    assert {job.jid for job in first.jobs + rest.jobs} >= {*done[1:]}


def test_a_search_stops_at_its_budget_and_goes_on_from_there(
    database: Database, ask: Ask, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MOST_SCANNED", 4)
    monkeypatch.setattr(searching, "TRIP", 4)
    jobs = [new(spec=spec("app.f", n)) for n in range(10)]
    ask(database.enqueue(jobs))
    found: Found = drive(search(database, "args.n:9", None, 4))
    assert (found.jobs, found.scanned) == ([], 4)
    assert found.cursor is not None
    assert everything(database, drive, "args.n:9") == [jobs[9].jid]


def test_time_in_a_filter_is_the_clock_of_the_store(database: Database, ask: Ask, drive: Drive, clock: Clock) -> None:
    old, young = new(), new()
    ask(database.enqueue([old]))
    clock.pass_(3_600_000)
    ask(database.enqueue([young]))
    assert everything(database, drive, "since:30m") == [young.jid]
    assert everything(database, drive, "waited:>30m") == [old.jid]


@pytest.mark.parametrize("cursor", ["nonsense", "00", "5b5d"])
def test_a_foreign_cursor_is_refused(database: Database, drive: Drive, cursor: str) -> None:
    with pytest.raises(ConfigError, match="search from the start"):
        drive(search(database, "", cursor, 50))
    with pytest.raises(ConfigError, match="between 1 and 1,000"):
        drive(search(database, "", None, 0))


@pytest.fixture
def bulk(database: Database, drive: Drive) -> Callable[..., Bulk]:
    async def never(steps: Any) -> Any:
        raise AssertionError(steps)

    def bulk(verb: Verb, text: str, as_of: int | None = None) -> Bulk:
        return Bulk(database, drive, never, verb, parse(text), as_of)

    return bulk


def test_a_bulk_retries_what_a_filter_lets_through_and_previews_it(
    database: Database, ask: Ask, bulk: Callable[..., Bulk]
) -> None:
    failed(database, ask, 7)
    failed(database, ask, 4, "app.g")
    it = bulk("retry", "job:f args.n:>0")
    preview = it.preview()
    assert (preview.count, preview.exact, preview.names, len(preview.samples)) == (6, True, {"app.f": 6}, 5)
    assert ask(database.counts()).queued == 0
    assert [*it][-1].done
    assert it.progress.changed == 6
    assert (ask(database.counts()).queued, ask(database.counts()).kept_failed) == (6, 5)


def test_jobs_that_failed_after_the_moment_of_a_bulk_are_left_alone(
    database: Database, ask: Ask, clock: Clock, bulk: Callable[..., Bulk]
) -> None:
    failed(database, ask, 2)
    it = bulk("retry", "state:failed")
    it.step()
    clock.pass_(1)
    for job in claim(database, ask).jobs:
        settle(database, ask, job, Move.FAIL)
    failed(database, ask, 1)
    assert [*it][-1].done
    assert (it.progress.changed, ask(database.counts()).kept_failed) == (2, 3)


@pytest.mark.parametrize("trip", [3, 500])
def test_a_bulk_reaches_every_job_though_each_step_shortens_the_lists(
    database: Database, ask: Ask, bulk: Callable[..., Bulk], monkeypatch: pytest.MonkeyPatch, trip: int
) -> None:
    monkeypatch.setattr("procession.bulk.TRIP", trip)
    monkeypatch.setattr("procession.search.TRIP", trip)
    jobs = [new(queue=queue, spec=spec("app.f", n)) for n in range(8) for queue in ("mail", "low")]
    ask(database.enqueue([*jobs, *(new(delay=n + 1) for n in range(8))]))
    it = bulk("remove", "-args.n:5")
    assert [*it][-1].done
    assert (it.progress.changed, ask(database.counts()).queued, ask(database.counts()).delayed) == (22, 2, 0)


def test_a_bulk_cancels_what_waits_and_asks_what_runs_once(
    database: Database, ask: Ask, bulk: Callable[..., Bulk]
) -> None:
    ask(database.enqueue([new(), new(), new(delay=9)]))
    running = claim(database, ask, limit=1).jobs[0]
    it = bulk("cancel", "")
    assert [*it][-1].done
    assert it.progress.changed == 3
    assert find(database, ask, running.jid).cancel_asked
    assert ask(database.counts()).kept_cancelled == 2


def test_a_bulk_that_is_stopped_changes_nothing_more(
    database: Database, ask: Ask, bulk: Callable[..., Bulk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procession.bulk.TRIP", 2)
    failed(database, ask, 5)
    it = bulk("remove", "state:failed")
    for progress in it:
        assert progress.changed == 2
        it.stop()
    assert it.step().stopped
    assert ask(database.counts()).kept_failed == 3


def test_an_unknown_bulk_is_refused(bulk: Callable[..., Bulk]) -> None:
    with pytest.raises(ConfigError, match="one of retry, cancel, remove"):
        bulk("purge", "")


def test_a_pause_says_by_whom(database: Database, ask: Ask) -> None:
    for reason, by in (("too hot", "ada"), ("", "ada"), ("too hot", ""), ("a\ttab", ""), ("a\ttab", "ada"), ("", "")):
        ask(database.pause(["mail"], reason, by))
        (info,) = ask(database.queues())
        assert (info.reason, info.paused_by, info.paused) == (reason, by, True)
    ask(database.resume(["mail"]))


@pytest.fixture
def told(database: Database, drive: Drive) -> Callable[[UUID], Why]:
    return lambda jid: drive(why(database, jid))


Told = Callable[[UUID], Why]


def alive(database: Database, ask: Ask, concurrency: int = 10, queues: str = '["mail"]') -> None:
    info = b'{"queues":%s,"concurrency":%d}' % (queues.encode(), concurrency)
    ask(database.heartbeat("w", lease=LEASE, info=info))


def test_why_a_queued_job_waits(database: Database, ask: Ask, told: Told) -> None:
    jobs = [new(), new(), new(priority=5)]
    ask(database.enqueue(jobs))
    first, last, urgent = (job.jid for job in jobs)
    assert told(first).kind == "no_worker"
    assert "no worker is alive" in told(first).text
    alive(database, ask, queues='["low"]')
    assert "those alive serve low" in told(first).text
    alive(database, ask)
    assert told(urgent).kind == "next"
    assert "2 jobs go first" in told(last).text
    assert told(first).kind == "behind"
    claim(database, ask, limit=1)
    alive(database, ask, concurrency=1)
    assert told(last).kind == "busy"
    assert "All 1 slots of the 1 worker" in told(last).text
    ask(database.heartbeat("w", lease=LEASE, info=b'{"queues":["mail"],"quiet_at":1,"quiet_by":"eve"}'))
    assert told(last).kind == "quiet"
    assert "told to be quiet by eve" in told(last).text
    ask(database.pause(["mail"], "too hot", "ada"))
    assert told(last).kind == "paused"
    assert "was paused by ada at 2027-01-15 08:00:00 UTC: too hot." in told(last).text


def test_why_a_job_far_behind_waits(database: Database, ask: Ask, told: Told) -> None:
    jobs = [new() for _ in range(150)]
    ask(database.enqueue(jobs))
    alive(database, ask)
    assert "at least 100 and at most 149 jobs go first" in told(jobs[-1].jid).text


def test_why_a_delayed_job_waits(database: Database, ask: Ask, told: Told, clock: Clock) -> None:
    later = new(delay=90_000)
    ask(database.enqueue([later, new(), new(), new()]))
    assert (told(later.jid).kind, "in 1m30s" in told(later.jid).text) == ("due", True)
    retried, snoozed, unknown = claim(database, ask).jobs
    failure = b'{"attempt":1,"type":"KeyError","message":"x"}'
    settle(database, ask, retried, Move.RETRY, delay=5_000, failure=failure)
    settle(database, ask, snoozed, Move.SNOOZE, delay=5_000, reason="snoozed")
    settle(database, ask, unknown, Move.POSTPONE, delay=5_000, reason=f"{UNKNOWN_NAME}app.f")
    assert told(retried.jid).kind == "retry"
    assert "Attempt 1 failed with KeyError: x; it runs again at" in told(retried.jid).text
    assert told(snoozed.jid).kind == "snoozed"
    assert told(unknown.jid).kind == "unknown_name"
    clock.pass_(60_000)
    assert "no worker is alive" in told(retried.jid).text
    alive(database, ask)
    assert (told(retried.jid).kind, "within seconds" in told(retried.jid).text) == ("overdue", True)


def test_why_a_blocked_job_waits_and_a_filter_finds_it(
    database: Database, ask: Ask, told: Told, clock: Clock, drive: Drive
) -> None:
    slot = Slot(limit=b"l" * 16, most=2)
    spec = b'["app.f",{},{"limit":"app.f/7"}]'
    jobs = [new(spec=spec, slot=slot, queue=queue) for queue in ("mail", "slow", "mail", "mail")]
    ask(database.enqueue(jobs))
    first, second, third, fourth = (job.jid for job in jobs)
    claim(database, ask)
    clock.pass_(90_000)
    ask(database.pause(["slow"]))
    why = told(fourth)
    assert why.kind == "blocked"
    assert why.text.startswith("It waits for one of the 2 slots of the limit app.f/7, taken by job ")
    assert f"job {first}, which runs for 1m30s on worker w" in why.text
    assert f"job {second}, which is queued in slow, which is paused;" in why.text
    assert why.text.endswith("1 blocked job goes first.")
    assert told(third).text.endswith("it is the next.")
    found = drive(search(database, "state:blocked", None, 50))
    assert [job.jid for job in found.jobs] == [third, fourth]
    assert {job.limit for job in found.jobs} == {"app.f/7"}


def test_why_a_running_job_is_not_finished(database: Database, ask: Ask, told: Told, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    jid = claim(database, ask).jobs[0].jid
    clock.pass_(2_000)
    assert (told(jid).kind, "attempt 1 for 2.0s on worker w" in told(jid).text) == ("running", True)
    ask(database.cancel([jid], "enough"))
    assert (told(jid).kind, "(enough)" in told(jid).text) == ("stopping", True)
    clock.pass_(LEASE)
    assert told(jid).kind == "lost"
    ask(database.leave("w", crash=Crash(how="signal 9")))


def test_why_a_job_is_finished(database: Database, ask: Ask, told: Told) -> None:
    jobs = [new(), new(), new()]
    ask(database.enqueue(jobs))
    done, bad, _ = claim(database, ask, limit=3).jobs
    settle(database, ask, done, Move.PROCESS)
    failure = b'{"attempt":1,"type":"KeyError","message":"x"}'
    settle(database, ask, bad, Move.FAIL, reason="exhausted", failure=failure)
    settle(database, ask, _, Move.DISCARD, reason="no more")
    assert "was processed at 2027-01-15 08:00:00 UTC" in told(done.jid).text
    assert "after 1 attempt with KeyError: x (exhausted). Retry it with: procession jobs retry" in told(bad.jid).text
    assert told(_.jid).kind == State.CANCELLED
    with pytest.raises(JobNotFound):
        told(new_jid())
