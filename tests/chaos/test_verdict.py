"""The check itself can fail: each kind of harm, planted in the evidence, is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from procession import State
from procession.database import Counts
from procession.job import new_jid
from tests.chaos.history import accepted
from tests.chaos.journal import Entry, Event, Run
from tests.chaos.nemesis import EVERYTHING, schedule
from tests.chaos.verdict import Evidence, Marks, Report, judge

JIDS = [new_jid() for _ in range(3)]


def ran(jid: UUID, *spans: tuple[float, float, str], pid: int = 1) -> list[Run]:
    return [Run(jid, n, int(started * 100), pid, started, ended, how) for n, (started, ended, how) in enumerate(spans)]


def verdict(marks: Marks = Marks(), **planted: Any) -> Report:  # noqa: B008 - frozen
    """Three jobs, all well, but for what is planted."""
    whole = {
        "entries": {jid: Entry(jid, acknowledged=1.0, answer="yes") for jid in JIDS},
        "runs": {jid: ran(jid, (n + 2.0, n + 2.5, "end")) for n, jid in enumerate(JIDS)},
        "events": [],
        "final": dict.fromkeys(JIDS, State.PROCESSED),
        "counts": Counts(processed=3, kept_processed=3),
        "accepted": dict.fromkeys(JIDS, 1),
    }
    return judge("planted", 1, Evidence(**{**whole, **planted}), marks)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert verdict().breaches == []


def test_a_job_that_never_came_out_is_lost() -> None:
    report = verdict(final=dict.fromkeys(JIDS[:2], State.PROCESSED), counts=Counts(processed=2))
    assert (report.lost, report.passed) == (1, False)


def test_a_job_that_is_called_processed_and_never_ran_to_its_end_is_lost() -> None:
    report = verdict(runs={jid: ran(jid, (2.0 + n, 0.0, "")) for n, jid in enumerate(JIDS)})
    assert report.lost == 3


def test_a_loss_that_is_stated_is_counted_apart() -> None:
    final, counts = dict.fromkeys(JIDS[:2], State.PROCESSED), Counts(processed=2)
    report = verdict(final=final, counts=counts, excused=frozenset(JIDS[2:]))
    assert (report.lost, report.excused, report.passed) == (0, 1, True)


@pytest.mark.parametrize("answer", ["no", None])
def test_a_job_that_was_refused_or_never_asked_for_and_came_out_is_a_phantom(answer: str | None) -> None:
    entries = {jid: Entry(jid, acknowledged=1.0, answer="yes") for jid in JIDS[:2]}
    if answer is not None:
        entries[JIDS[2]] = Entry(JIDS[2], answer=answer)
    report = verdict(entries=entries)
    assert (report.phantom, report.passed) == (1, False)


def test_a_job_whose_answer_was_lost_may_come_out_or_not() -> None:
    entries = {jid: Entry(jid, answer="unknown" if jid is JIDS[2] else "yes") for jid in JIDS}
    final, counts = dict.fromkeys(JIDS[:2], State.PROCESSED), Counts(processed=2)
    assert verdict(entries=entries).passed
    runs = {jid: ran(jid, (2.0 + n, 3.0, "end")) for n, jid in enumerate(JIDS[:2])}
    assert verdict(entries=entries, final=final, counts=counts, runs=runs).passed


def test_a_run_that_no_fault_forced_is_a_breach_and_a_retry_is_none() -> None:
    runs = {jid: ran(jid, (n + 2.0, n + 2.5, "end")) for n, jid in enumerate(JIDS)}
    twice = {**runs, JIDS[0]: ran(JIDS[0], (7.0, 7.5, "end"), (8.0, 8.5, "end"))}
    assert (verdict(runs=twice).run_twice, verdict(runs=twice).passed) == (1, False)
    assert verdict(Marks(run_twice=1), runs=twice).passed
    assert verdict(runs={**runs, JIDS[0]: ran(JIDS[0], (7.0, 7.5, "raise"), (8.0, 8.5, "end"))}).passed


def test_two_accepted_outcomes_are_found_in_the_history_and_in_the_counters() -> None:
    assert verdict(accepted={**dict.fromkeys(JIDS, 1), JIDS[0]: 2}).breaches == ["settled_twice 1"]
    assert verdict(counts=Counts(processed=4)).breaches == ["settled_twice 1"]


@pytest.mark.parametrize(("how", "processed"), [("end", 3), ("", 2)])
@pytest.mark.parametrize("history", [True, False])
def test_a_job_that_was_taken_out_counts_as_settled_only_if_it_had_come_to_its_end(
    how: str, processed: int, history: bool
) -> None:
    accepted = dict.fromkeys(JIDS if how else JIDS[:2], 1) if history else None
    planted = {
        "entries": {jid: Entry(jid, answer="removed" if jid is JIDS[2] else "yes", acknowledged=1.0) for jid in JIDS},
        "runs": {jid: ran(jid, (n + 2.0, n + 2.5, how if jid is JIDS[2] else "end")) for n, jid in enumerate(JIDS)},
        "final": dict.fromkeys(JIDS[:2], State.PROCESSED),
        "accepted": accepted,
    }
    assert verdict(**planted, counts=Counts(processed=processed)).settled_twice == 0
    assert verdict(**planted, counts=Counts(processed=processed + 1)).settled_twice == 1


def test_a_job_that_ends_as_something_else_than_it_should_is_a_breach() -> None:
    final = {**dict.fromkeys(JIDS, State.PROCESSED), JIDS[0]: State.FAILED}
    (why,) = verdict(final=final, reasons={JIDS[0]: "poison after 3 deaths of its worker"}).breaches
    assert why == "1 jobs that should be processed became failed (poison after 3 deaths of its worker)"


def test_recovery_is_measured_from_the_fault_to_the_next_run() -> None:
    runs = {jid: ran(jid, (2.0 + n, 2.5 + n, "end")) for n, jid in enumerate(JIDS)}
    runs[JIDS[0]] = [*ran(JIDS[0], (10.0, 0.0, "")), Run(JIDS[0], 2, 9_000, 2, 28.0, 29.0, "end")]
    report = verdict(Marks(recovery=15.0, run_twice=1), runs=runs, events=[Event(11.0, "vanished", frozenset({1}))])
    assert report.recovery_max == 17.0
    assert report.breaches == ["recovery took 17.0 s, at most 15.0 s is promised"]


def test_a_fence_that_repeats_or_falls_is_a_breach() -> None:
    runs = {jid: ran(jid, (2.0, 2.5, "end")) for jid in JIDS}
    assert verdict(runs=runs).breaches == ["1 fences repeated, 0 falling"]
    runs = {jid: ran(jid, (2.0 + n, 2.5 + n, "end")) for n, jid in enumerate(JIDS)}
    runs[JIDS[0]] += [Run(JIDS[0], 2, 150, 7, 9.0, 9.5, "end")]
    report = verdict(Marks(run_twice=1), runs=runs, events=[Event(8.9, "woken"), Event(8.8, "cut", frozenset({99}))])
    assert report.breaches[0] == "0 fences repeated, 1 falling"
    assert "in process 1 at 2.0 by fence 200, then in 7 at 9.0 by 150 " in report.breaches[1]
    assert "meanwhile: woken at 8.9" in report.breaches[1]


def test_a_run_that_was_about_to_begin_as_its_process_was_suspended_is_no_breach() -> None:
    def late(looked: float, victims: set[int]) -> Report:
        runs = {jid: ran(jid, (2.0 + n, 2.5 + n, "end")) for n, jid in enumerate(JIDS)}
        runs[JIDS[0]] += [Run(JIDS[0], 2, 150, 7, 9.0, 9.5, "stop", looked)]
        events = [Event(4.0, "suspended", frozenset(victims)), Event(8.9, "woken")]
        return verdict(Marks(run_twice=1), runs=runs, events=events)

    assert late(3.9, {7}).passed
    assert late(3.9, {7}).notes == ["1 begun late, by a process that was suspended just then"]
    assert not late(8.95, {7}).passed  # it has looked since it woke
    assert not late(3.9, {8}).passed


def test_the_history_is_read_up_to_a_torn_end(tmp_path: Path) -> None:
    def command(*words: bytes) -> bytes:
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    entries = [jid.bytes + b"\0\1" for jid in JIDS]
    text = b"#TS:1\r\n" + command(b"RPUSH", b"{chaos:0}:processed", *entries[:2]) + command(b"MULTI")
    text += command(b"RPUSH", b"{chaos:0}:failed", entries[0]) + command(b"RPUSH", b"{other:0}:failed", entries[1])
    text += command(b"RPUSH", b"{chaos:0}:failed", entries[2])[:-9]
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "a.1.incr.aof").write_bytes(text)
    assert accepted(tmp_path, "{chaos:0}") == {
        JIDS[0]: [State.PROCESSED, State.FAILED],
        JIDS[1]: [State.PROCESSED],
    }


def test_a_seed_decides_the_whole_schedule_and_each_fault_has_its_turn() -> None:
    strikes = schedule(7, EVERYTHING, seconds=60, every=1.5)
    assert strikes == schedule(7, EVERYTHING, seconds=60, every=1.5) != schedule(8, EVERYTHING, seconds=60, every=1.5)
    assert {strike.fault for strike in strikes} == set(EVERYTHING)
