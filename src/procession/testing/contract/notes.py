"""The verbs about what running jobs say, sentence by sentence of their docstrings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec

from procession.database import Database
from procession.job import new_jid
from procession.moves import Move
from procession.notes import Note, Progress, Said
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.queue import LEASE, claim, find, new, settle

Ask = Callable[..., Any]


def line(text: str, attempt: int = 1) -> bytes:
    return msgspec.json.encode(Said(1, "INFO", "app", text, attempt))


def note(job: Any, number: int, *texts: str, progress: float | None = None, **fields: Any) -> Note:
    reported = b"" if progress is None else msgspec.json.encode(Progress(progress, "so far"))
    lines = tuple(line(text) for text in texts)
    said = {"jid": job.jid, "token": job.token, "number": number, "progress": reported, "lines": lines}
    return Note(**{**said, **fields})


def running(database: Database, ask: Ask, **fields: Any) -> Any:
    ask(database.enqueue([new(**fields)]))
    return claim(database, ask).jobs[0]


def texts(database: Database, ask: Ask, job: Any, after: int = 0) -> list[tuple[int, str]]:
    return [(it.index, it.text) for it in ask(database.log(job.jid, after))]


def test_lines_are_kept_in_order_and_read_behind_an_index(database: Database, ask: Ask) -> None:
    job = running(database, ask)
    assert ask(database.note([note(job, 1, "a", "b"), note(job, 2, "c")])) == [True, True]
    assert texts(database, ask, job) == [(1, "a"), (2, "b"), (3, "c")]
    assert texts(database, ask, job, 2) == [(3, "c")]
    assert texts(database, ask, job, 3) == texts(database, ask, job, 99) == []
    first = ask(database.log(job.jid))[0]
    assert (first.at, first.level, first.logger, first.attempt) == (1, "INFO", "app", 1)
    settle(database, ask, job, Move.PROCESS)
    assert len(texts(database, ask, job)) == 3
    assert ask(database.log(new_jid())) == []


def test_progress_is_read_with_the_job_and_the_newest_stays(database: Database, ask: Ask, clock: Clock) -> None:
    job = running(database, ask)
    assert find(database, ask, job.jid).progress is None
    ask(database.note([note(job, 1, progress=0.25)]))
    assert find(database, ask, job.jid).progress == Progress(0.25, "so far", clock.now)
    since = clock.now
    clock.pass_(1_000)
    ask(database.note([note(job, 2, "only a line")]))
    assert find(database, ask, job.jid).progress == Progress(0.25, "so far", since)
    settle(database, ask, job, Move.RETRY, delay=10)
    again = find(database, ask, job.jid)
    assert (again.progress, again.attempt) == (Progress(0.25, "so far", since), 1)


def test_a_stale_attempt_writes_nothing(database: Database, ask: Ask, clock: Clock) -> None:
    job = running(database, ask)
    stranger = note(job, 1, "no", progress=1.0, token=os.urandom(16))
    assert ask(database.note([stranger, note(job, 1, "no", jid=new_jid())])) == [False, False]
    ask(database.leave("w"))
    assert ask(database.note([note(job, 1, "no", progress=1.0)])) == [False]
    again = claim(database, ask, worker="v").jobs[0]
    assert ask(database.note([note(job, 2, "no"), note(again, 1, "yes")])) == [False, True]
    settle(database, ask, again, Move.PROCESS, worker="v")
    assert ask(database.note([note(again, 2, "late")])) == [False]
    assert texts(database, ask, job) == [(1, "yes")]
    assert find(database, ask, job.jid).progress is None


def test_a_note_that_is_repeated_is_taken_once(database: Database, ask: Ask) -> None:
    job = running(database, ask)
    assert ask(database.note([note(job, 1, "a")])) == [True]
    assert ask(database.note([note(job, 1, "a"), note(job, 2, "b")])) == [True, True]
    settle(database, ask, job, Move.RELEASE)
    again = claim(database, ask).jobs[0]
    ask(database.note([note(again, 1, "c")]))
    assert texts(database, ask, job) == [(1, "a"), (2, "b"), (3, "c")]


def test_the_newest_2000_lines_and_256_kb_of_a_job_are_kept(database: Database, ask: Ask) -> None:
    job = running(database, ask)
    ask(database.note([note(job, 1, *map(str, range(2_100)))]))
    kept = texts(database, ask, job)
    assert (len(kept), kept[0], kept[-1]) == (2_000, (101, "100"), (2_100, "2099"))
    assert texts(database, ask, job, 50) == kept
    ask(database.note([note(job, 2, *["x" * 4_000] * 100)]))
    kept = texts(database, ask, job)
    assert sum(len(line(text)) for _, text in kept) <= 262_144
    assert (len(kept) >= 60, kept[-1][0]) == (True, 2_200)


def test_notes_go_away_with_their_job(database: Database, ask: Ask, clock: Clock) -> None:
    for how in ("remove", "prune"):
        job = running(database, ask, spec=b'["app.f",{"text":"%b"}]' % (b"x" * 2_000))
        ask(database.note([note(job, 1, "a", progress=0.5)]))
        settle(database, ask, job, Move.FAIL, reason="no", failure=b'{"attempt":1,"type":"E","message":"no"}')
        assert texts(database, ask, job) == [(1, "a")]
        if how == "remove":
            ask(database.remove([job.jid]))
        else:
            clock.pass_(15 * 24 * 3_600_000)
            assert ask(database.prune(10)) == 1
        assert texts(database, ask, job) == []


def test_a_job_with_notes_makes_every_other_move(database: Database, ask: Ask, clock: Clock) -> None:
    job = running(database, ask, delay=0, expires_in=10**9)
    ask(database.note([note(job, 1, "a", progress=0.5)]))
    settle(database, ask, job, Move.SNOOZE, delay=1_000)
    clock.pass_(1_000)
    ask(database.promote(10))
    job = claim(database, ask).jobs[0]
    settle(database, ask, job, Move.PROCESS, value=b"7")
    found = find(database, ask, job.jid)
    assert (found.result, found.progress is not None, found.args) == (msgspec.Raw(b"7"), True, {"n": 1})
    ask(database.retry([job.jid]))
    clock.pass_(LEASE)
    again = claim(database, ask).jobs[0]
    assert ask(database.note([note(again, 1, "b")])) == [True]
    assert texts(database, ask, job) == [(1, "a"), (2, "b")]
