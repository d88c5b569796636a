"""Schedules over every backend, with the store's clock in the hand of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from procession.database import Database
from procession.errors import ConfigError
from procession.job import Job, Outcome, State, new_jid
from procession.moves import Move
from procession.schedule import (
    FORGOTTEN,
    KEPT,
    LAPSE,
    MOST,
    Planned,
    Schedule,
    ScheduleInfo,
    backfill,
    by_hand,
    due,
    planned,
    planned_again,
    run_jid,
)
from procession.testing.contract.fixtures import NOW, Clock
from procession.testing.contract.invariants import all_jobs

Ask = Callable[..., Any]
MINUTE = 60_000


def minutely(name: str = "tick", **fields: Any) -> Schedule:
    return Schedule(name=name, job="app.tick", every=MINUTE, queue="mail", **fields)


def add(database: Database, ask: Ask, clock: Clock, *schedules: Schedule, declared: bool = False) -> list[bool]:
    changed: list[bool] = ask(
        database.upsert_schedules([planned(it, clock.now) for it in schedules], declared=declared)
    )
    return changed


def look(database: Database, ask: Ask) -> list[str]:
    found = ask(database.due_schedules(100))
    fired: list[str] = ask(database.fire([due(it, found.now) for it in found.schedules]))
    return fired


def info(database: Database, ask: Ask, name: str = "tick") -> ScheduleInfo:
    found: ScheduleInfo = ask(database.schedules([name])).schedules[0]
    return found


def waiting(database: Database, ask: Ask) -> list[Job]:
    return all_jobs(database, ask, State.QUEUED)


def claimed(database: Database, ask: Ask) -> Any:
    return ask(database.claim(["mail"], "w", new_jid().bytes, limit=10, lease=10_000_000)).jobs


def finish(database: Database, ask: Ask, job: Any) -> None:
    assert ask(database.settle("w", [Outcome(jid=job.jid, token=job.token, move=Move.PROCESS)])) == [True]


def test_a_schedule_is_fired_when_it_is_due_and_not_before(database: Database, ask: Ask, clock: Clock) -> None:
    asked = minutely(args=msgspec.Raw(b'{"n":1}'), priority=7, tags=("a",), attempts=2, timeout=5_000)
    assert add(database, ask, clock, asked) == [True]
    assert look(database, ask) == []
    assert ask(database.due_schedules(10)).next_due == NOW + MINUTE
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired"]
    assert look(database, ask) == []
    [job] = waiting(database, ask)
    assert (job.jid, job.name, job.args, job.queue) == (run_jid("tick", clock.now), "app.tick", {"n": 1}, "mail")
    assert (job.priority, job.tags, job.attempts, job.timeout, job.enqueued_at) == (7, ("a",), 2, 5_000, clock.now)
    after = info(database, ask)
    assert after.schedule == asked
    assert (after.next_at, after.last_at) == (clock.now + MINUTE, clock.now)
    assert [(run.at, run.jid, run.note) for run in after.runs] == [(clock.now, str(job.jid), "")]


def test_of_two_who_decided_the_same_one_fires(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely())
    clock.pass_(MINUTE)
    firing = due(info(database, ask), clock.now)
    assert ask(database.fire([firing, firing])) == ["fired", "lost"]
    assert ask(database.fire([firing])) == ["lost"]
    assert ask(database.counts()).enqueued == 1


def test_a_slot_is_never_fired_again_even_when_its_job_is_gone(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely())
    clock.pass_(MINUTE)
    slot = clock.now
    look(database, ask)
    [job] = waiting(database, ask)
    ask(database.remove([job.jid]))
    edited = msgspec.structs.replace(minutely(), priority=1)
    ask(database.upsert_schedules([Planned("tick", msgspec.json.encode(edited), slot)]))  # by who read the clock before
    assert look(database, ask) == ["fired"]
    assert waiting(database, ask) == []
    assert info(database, ask).next_at == slot + MINUTE


@pytest.mark.parametrize(
    ("missed", "jobs", "note"), [("skip", 0, "missed 3"), ("once", 1, "missed 2"), ("all", 2, "missed at least 1")]
)
def test_missed_slots_are_made_up_for_as_asked(
    database: Database, ask: Ask, clock: Clock, missed: Any, jobs: int, note: str
) -> None:
    catch_up = 2 if missed == "all" else 100
    add(database, ask, clock, Schedule(name="tick", job="j", every=10 * MINUTE, missed=missed, catch_up=catch_up))
    clock.pass_(35 * MINUTE)
    last = clock.now - clock.now % (10 * MINUTE)
    assert look(database, ask) == ["fired"]
    assert {job.jid for job in waiting(database, ask)} == {run_jid("tick", last - n * 10 * MINUTE) for n in range(jobs)}
    assert note in [run.note for run in info(database, ask).runs]
    assert info(database, ask).next_at == last + 10 * MINUTE


def test_an_edit_never_replays_what_was_missed(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely(missed="all"))
    clock.pass_(10 * MINUTE)
    assert add(database, ask, clock, minutely(missed="all")) == [False]
    assert ask(database.due_schedules(9)).schedules
    assert add(database, ask, clock, minutely(missed="all", tz="Europe/Paris")) == [True]
    assert look(database, ask) == []
    assert ask(database.remove_schedules(["tick", "other"])) == [True, False]
    assert add(database, ask, clock, minutely(missed="all")) == [True]
    assert look(database, ask) == []
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired"]
    assert len(waiting(database, ask)) == 1


def test_overlap_allow_runs_beside_and_skip_does_not_run(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely("beside"), minutely("alone", overlap="skip"))
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired", "fired"]
    jobs = claimed(database, ask)
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired", "fired"]
    assert [job.jid for job in waiting(database, ask)] == [run_jid("beside", clock.now)]
    assert [run.note for run in info(database, ask, "alone").runs] == ["", "skipped"]
    for job in jobs:
        finish(database, ask, job)
    clock.pass_(MINUTE)
    look(database, ask)
    assert run_jid("alone", clock.now) in {job.jid for job in waiting(database, ask)}


@pytest.mark.parametrize("missed", ["once", "skip"])
def test_overlap_queue_one_lets_one_wait_for_the_one_before(
    database: Database, ask: Ask, clock: Clock, missed: Any
) -> None:
    add(database, ask, clock, minutely(overlap="queue_one", missed=missed))
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired"]
    [job] = claimed(database, ask)
    for _ in range(3):
        clock.pass_(MINUTE)
        assert look(database, ask) == ["busy"]
        assert look(database, ask) == []
        assert info(database, ask).waiting
    last = clock.now
    clock.pass_(MINUTE // 2)
    finish(database, ask, job)
    assert look(database, ask) == ["fired"]
    assert [job.jid for job in waiting(database, ask)] == [run_jid("tick", last)]
    after = info(database, ask)
    assert (after.waiting, after.next_at) == (False, last + MINUTE)
    assert [run.note for run in after.runs] == ["", "missed 2", ""]


def test_overlap_cancel_previous_stops_what_runs_and_drops_what_waits(
    database: Database, ask: Ask, clock: Clock
) -> None:
    add(database, ask, clock, minutely(overlap="cancel_previous"))
    clock.pass_(MINUTE)
    look(database, ask)
    [running] = claimed(database, ask)
    clock.pass_(MINUTE)
    look(database, ask)
    queued = run_jid("tick", clock.now)
    first, second = ask(database.find([running.jid, queued]))
    assert (first.state, first.cancel_asked, second.state) == (State.RUNNING, True, State.QUEUED)
    clock.pass_(MINUTE)
    look(database, ask)
    [second] = ask(database.find([queued]))
    assert (second.state, second.reason) == (State.CANCELLED, "the next run is due")
    finish(database, ask, running)


@pytest.mark.parametrize("overlap", ["cancel_previous", "skip", "queue_one"])
def test_a_run_that_was_filled_in_before_it_was_due_is_no_overlap_with_itself(
    database: Database, ask: Ask, clock: Clock, overlap: Any
) -> None:
    add(database, ask, clock, minutely(overlap=overlap))
    clock.pass_(MINUTE)
    slot, decided = clock.now, info(database, ask)
    assert ask(database.fire([backfill(decided, slot - 1, slot)])) == ["fired"]
    assert look(database, ask) == ["fired"]
    assert [job.jid for job in waiting(database, ask)] == [run_jid("tick", slot)]
    assert [run.note for run in info(database, ask).runs] == ["backfill", ""]
    clock.pass_(MINUTE)
    look(database, ask)
    assert ask(database.counts()).cancelled == (overlap == "cancel_previous")


def test_a_paused_schedule_is_not_due_and_resumes_at_its_next_slot(
    database: Database, ask: Ask, clock: Clock
) -> None:
    add(database, ask, clock, minutely())
    clock.pass_(MINUTE)
    decided = due(info(database, ask), clock.now)
    assert ask(database.pause_schedules(["tick", "other"], "too hot")) == [True, False]
    assert ask(database.fire([decided])) == ["lost"]
    assert look(database, ask) == []
    assert add(database, ask, clock, minutely(priority=1)) == [True]
    paused = info(database, ask)
    assert (paused.paused, paused.reason, paused.paused_at) == (True, "too hot", clock.now)
    clock.pass_(10 * MINUTE)
    assert look(database, ask) == []
    assert ask(database.resume_schedules([planned_again(paused, clock.now)])) == [True]
    assert ask(database.resume_schedules([planned_again(paused, clock.now)])) == [False]
    assert look(database, ask) == []
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired"]


def test_a_run_by_hand_and_a_backfill_leave_the_next_slot_alone(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely(overlap="skip"))
    before, jid = info(database, ask), new_jid()
    assert ask(database.fire([by_hand(before, clock.now, jid)])) == ["fired"]
    earlier = clock.now - clock.now % MINUTE
    for _ in range(2):
        assert ask(database.fire([backfill(before, earlier - 3 * MINUTE, earlier)])) == ["fired"]
    slots = [run_jid("tick", earlier - n * MINUTE) for n in range(3)]
    assert {job.jid for job in waiting(database, ask)} == {jid, *slots}
    after = info(database, ask)
    assert [run.note for run in after.runs] == ["by hand", "backfill", "backfill", "backfill"]
    assert after.next_at == before.next_at
    with pytest.raises(ConfigError, match="shorter time"):
        backfill(before, 0, clock.now)


def test_what_no_worker_declares_any_more_rests_and_is_forgotten(
    database: Database, ask: Ask, clock: Clock
) -> None:
    add(database, ask, clock, minutely(), minutely("other"), declared=True)
    add(database, ask, clock, minutely("made"))
    clock.pass_(LAPSE + 1)
    ask(database.touch_schedules(["other", "unknown"]))
    assert {it.name for it in ask(database.due_schedules(9)).schedules} == {"other", "made"}
    assert info(database, ask).lapsed(clock.now)
    ask(database.touch_schedules(["tick"]))
    assert {it.name for it in ask(database.due_schedules(9)).schedules} == {"other", "made", "tick"}
    clock.pass_(FORGOTTEN)
    for _ in range(2):
        clock.pass_(LAPSE + 1)
        assert {it.name for it in ask(database.due_schedules(9)).schedules} == {"made"}
    assert [it.name for it in ask(database.schedules()).schedules] == ["made"]


def test_an_edit_leaves_it_as_it_was_whether_a_schedule_stands_in_code(
    database: Database, ask: Ask, clock: Clock
) -> None:
    add(database, ask, clock, minutely(), declared=True)
    add(database, ask, clock, minutely("other"))
    edits = [planned(minutely(name, priority=1), clock.now) for name in ("tick", "other", "new")]
    assert ask(database.upsert_schedules(edits, declared=None)) == [True, True, True]
    assert [info(database, ask, it.name).declared_at for it in edits] == [NOW, 0, 0]
    clock.pass_(LAPSE + 1)
    assert [it.name for it in ask(database.due_schedules(9)).schedules] == ["new", "other"]
    assert ask(database.touch_schedules(["tick"]))
    assert [it.name for it in ask(database.due_schedules(9)).schedules] == ["new", "other", "tick"]


def test_an_empty_store_knows_of_nothing_declared_and_one_without_schedules_may(
    database: Database, ask: Ask, clock: Clock
) -> None:
    assert not ask(database.touch_schedules(["tick"]))
    add(database, ask, clock, minutely("made"))
    assert not ask(database.touch_schedules(["tick"]))
    add(database, ask, clock, minutely(), declared=True)
    ask(database.remove_schedules(["tick"]))
    assert ask(database.touch_schedules(["tick"]))
    ask(database.flush())
    assert not ask(database.touch_schedules(["tick"]))


def test_what_rested_goes_on_where_it_was_once_declared_again(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely(), declared=True)
    clock.pass_(LAPSE + 10 * MINUTE)
    assert look(database, ask) == []
    assert add(database, ask, clock, minutely(), declared=True) == [False]
    assert look(database, ask) == ["fired"]
    assert len(waiting(database, ask)) == 1


def test_a_clock_that_jumps_forward_forgets_no_schedule_that_is_declared_yet(
    database: Database, ask: Ask, clock: Clock
) -> None:
    add(database, ask, clock, minutely(), declared=True)
    clock.pass_(FORGOTTEN + LAPSE)
    assert look(database, ask) == []
    clock.pass_(LAPSE // 2)
    assert look(database, ask) == []
    ask(database.touch_schedules(["tick"]))
    assert look(database, ask) == ["fired"]


@pytest.mark.parametrize("anew", [True, False], ids=["stored anew", "declared"])
def test_a_clock_that_goes_forward_and_back_lets_no_declared_schedule_rest(
    database: Database, ask: Ask, clock: Clock, anew: bool
) -> None:
    add(database, ask, clock, minutely(), declared=True)
    clock.pass_(100 * LAPSE)
    assert look(database, ask) == []
    clock.pass_(MINUTE - 100 * LAPSE)
    assert look(database, ask) == []
    if anew:
        assert add(database, ask, clock, minutely(), declared=True) == [False]
    else:
        ask(database.touch_schedules(["tick"]))
    assert look(database, ask) == ["fired"]


def test_jitter_puts_a_run_off_by_the_same_part_for_everyone(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely(jitter=30_000, expires=1_000))
    clock.pass_(MINUTE)
    firing = due(info(database, ask), clock.now)
    assert firing == due(info(database, ask), clock.now + 5)
    ask(database.fire([firing]))
    [job] = all_jobs(database, ask, State.DELAYED)
    assert clock.now < job.due_at <= clock.now + 30_000
    assert job.expires_at == clock.now + 1_000


def test_the_history_keeps_the_newest_runs(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, minutely())
    for _ in range(KEPT + 5):
        clock.pass_(MINUTE)
        look(database, ask)
    runs = info(database, ask).runs
    assert (len(runs), runs[-1].at, runs[0].at) == (KEPT, clock.now, clock.now - (KEPT - 1) * MINUTE)


@pytest.mark.parametrize("overlap", ["skip", "queue_one"])
def test_a_run_that_lasts_longer_than_the_history_is_not_overlapped(
    database: Database, ask: Ask, clock: Clock, overlap: Any
) -> None:
    add(database, ask, clock, minutely(overlap=overlap))
    clock.pass_(MINUTE)
    look(database, ask)
    [running] = claimed(database, ask)
    for _ in range(KEPT + 5):
        clock.pass_(MINUTE)
        look(database, ask)
    assert waiting(database, ask) == []
    for _ in range(KEPT + 5):
        by_now = by_hand(info(database, ask), clock.now, new_jid())
        assert ask(database.fire([by_now])) == ["fired"]
        for job in claimed(database, ask):
            finish(database, ask, job)
    clock.pass_(MINUTE)
    look(database, ask)
    assert waiting(database, ask) == []
    runs = info(database, ask).runs
    assert (len(runs), runs[0].jid) == (KEPT, str(running.jid))
    finish(database, ask, running)
    clock.pass_(MINUTE)
    look(database, ask)
    assert [job.jid for job in waiting(database, ask)] == [run_jid("tick", clock.now)]
    assert len(info(database, ask).runs) == KEPT


def test_there_may_be_so_many_schedules_and_no_more(database: Database, ask: Ask, clock: Clock) -> None:
    add(database, ask, clock, *(minutely(f"s{n}") for n in range(MOST)))
    with pytest.raises(ConfigError, match="2,000 schedules"):
        add(database, ask, clock, minutely("one more"))
    assert add(database, ask, clock, minutely("s1")) == [False]
    assert len(ask(database.schedules()).schedules) == MOST


@pytest.mark.parametrize("jitter", [0, 50_000])
def test_the_runs_of_a_schedule_have_the_deadline_of_their_job(
    database: Database, ask: Ask, clock: Clock, jitter: int
) -> None:
    add(database, ask, clock, minutely(deadline=2_000, jitter=jitter))
    clock.pass_(MINUTE)
    assert look(database, ask) == ["fired"]
    run = info(database, ask).runs[-1]
    assert ask(database.counts()).enqueued == 1
    clock.pass_(2_000)
    ask(database.promote(10))
    job = ask(database.find([UUID(run.jid)]))[0]
    assert (job.state, job.reason) == (State.FAILED, "deadline")
