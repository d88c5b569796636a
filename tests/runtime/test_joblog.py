"""What the log says of jobs that come slowly, in a crowd, and when they fail in one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from procession.codec import encode_spec
from procession.job import Claimed, Spec, new_jid
from procession.registry import Registry
from procession.runtime.active import Active
from procession.runtime.executor import Run, Verdict, judge, resolve, succeeded
from procession.runtime.joblog import READABLE, JobLog

SECOND = 1_000
"""A reading of the clock."""


def ended(began: float, error: Exception | None = None, *, logged: bool = False) -> tuple[Active, Verdict]:
    registry = Registry()
    registry.define(job, name="j", retry=False)
    spec = encode_spec(Spec("j", b"{}"))  # type: ignore[arg-type]
    run = resolve(Claimed(new_jid(), b"t" * 8, "q", spec, 1, 0, fence=1), registry, "w")
    assert isinstance(run, Run)
    executor: Any = None  # nobody asks it
    verdict = succeeded(run, None, "w") if error is None else judge(run, error, "w")
    return Active(run, executor, started=began, took=0.002, logged=logged), verdict


async def job() -> None: ...


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "procession.worker")

    def count(*words: str) -> int:
        return sum(all(word in line for word in words) for line in caplog.messages)

    return count


def test_a_job_that_comes_alone_has_two_lines(said: Any) -> None:
    log = JobLog()
    log.finished([ended(SECOND + 0.5)])
    assert said("j ", "started, attempt 1") == said("j ", "finished in 2 ms") == 1


def test_a_crowd_is_summed_up_by_the_second(said: Any) -> None:
    log = JobLog()
    crowd = READABLE + 200
    log.finished([ended(SECOND + number / 1_000) for number in range(crowd)])
    assert said("started") == said("finished in") == READABLE
    assert said("in the last second") == 0
    log.finished([ended(SECOND + 1.0 + number / 1_000) for number in range(crowd)])
    assert said("finished 200 jobs in the last second") == 1
    assert said("started") == said("finished in") == READABLE  # it goes on so, from the second's first job
    log.finished([ended(SECOND + 2.5), ended(SECOND + 3.5)])  # two seconds in one call, the crowd is over
    assert said(f"finished {crowd} jobs in the last second") == 1
    assert said("finished in") == READABLE + 1
    assert said("finished 1 jobs in the last second") == 1


def test_whoever_fails_in_a_crowd_has_a_line_and_the_others_are_counted(said: Any) -> None:
    log = JobLog()
    runs = [ended(SECOND + number / 1_000) for number in range(READABLE + 100)]
    runs[READABLE + 50] = ended(SECOND + 0.4, ValueError("broken"))
    log.finished(runs)
    log.finished([ended(SECOND + 1.5)])
    assert said("failed", "ValueError: broken") == 1
    assert said("finished 99 jobs in the last second") == 1


def test_a_job_that_was_said_to_have_started_is_summed_up_when_it_ends_in_a_crowd(said: Any) -> None:
    log = JobLog()
    run, verdict = ended(SECOND + 0.1, logged=True)
    log.started(run.run, run.started)
    log.finished([ended(SECOND + 0.2 + number / 1_000) for number in range(READABLE)])
    log.finished([(run, verdict)])
    log.finished([ended(SECOND + 1.5)])
    assert said("started") == READABLE
    assert said("finished in") == READABLE - 1
    assert said("finished 2 jobs in the last second") == 1


def test_verbose_brings_every_line_back(said: Any) -> None:
    log = JobLog(verbose=True)
    log.finished([ended(SECOND + number / 1_000) for number in range(READABLE + 200)])
    assert said("started") == said("finished in") == READABLE + 200


def test_what_never_began_is_not_said_to_have_started(said: Any) -> None:
    log = JobLog()
    run, _ = ended(0.0)
    run.run.context.stop("shutdown")
    run.took = None
    log.finished([(run, judge(run.run, RuntimeError("never begun"), "w"))])
    assert said("started") == 0
    assert said("release (interrupted)") == 1
