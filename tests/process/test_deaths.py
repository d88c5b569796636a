"""Processes that die in every way: their jobs run again soon, and what is known of the death is kept with the job."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from procession import Procession, State
from procession.job import Crash
from procession.testing.contract.invariants import check_invariants
from tests.process.family import Families, until


def dossier(handle: object) -> Crash:
    crash: Crash | None = handle.job().failures[0].crash  # type: ignore[attr-defined]
    assert crash is not None
    return crash


def test_jobs_of_a_killed_process_run_again_within_seconds_and_its_last_lines_are_kept(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker("--processes", "2")
    until(lambda: len(app.workers()) == 2)
    handles = [shop.nap.enqueue(30, f"nap{n}") for n in range(3)]
    until(lambda: len(worker.runs()) == 3)
    victim = worker.runners()["nap0"]
    shared = [mark for mark, pid in worker.runners().items() if pid == victim]
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(worker.runs()) == 3 + len(shared))
    seconds = time.monotonic() - began
    assert seconds < 3, f"{seconds:.2f} s until all of them ran again"
    job = handles[0].job()
    assert (job.crashes, job.attempt, job.failures[0].message) == (1, 2, "signal 9 (SIGKILL)")
    crash = dossier(handles[0])
    assert (crash.how, crash.pid, crash.beside) == ("signal 9 (SIGKILL)", victim, len(shared) - 1)
    assert crash.host
    assert crash.memory > 10_000_000
    assert any(f"nap {job.jid} started" in line for line in crash.log)
    assert "died: signal 9 (SIGKILL)" in family.log


def test_a_segmentation_fault_leaves_the_guilty_stack_for_whoever_asks(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    worker()
    fault = shop.die_once.enqueue(str(tmp_path / "fault"), "SIGSEGV")
    assert fault.result(timeout=20) == "survived"
    exits = shop.die_once.enqueue(str(tmp_path / "exits"), "exit")
    assert exits.result(timeout=20) == "survived"
    assert dossier(exits).how == "exit code 7"
    assert "the_guilty_function" in dossier(fault).stack
    shown = subprocess.check_output(
        [sys.executable, "-m", "procession", "jobs", "show", str(fault.jid)], cwd=tmp_path, text=True
    )
    for line in ("how it ended: signal 11 (SIGSEGV)", "peak memory: ", "die_once", "the_guilty_function", "process "):
        assert line in shown


def test_an_exit_code_that_a_job_has_chosen_is_never_taken_for_the_workers_own(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    family = worker()
    for code in (0, 3, 6):  # with these a worker says that it is done, cannot begin, was cut short
        handle = shop.die_once.enqueue(str(tmp_path / str(code)), f"exit{code}")
        assert handle.result(timeout=10) == "survived"  # sooner than its lease ends
        assert dossier(handle).how == f"exit code {code}"
    assert family.stop() == 0


def test_a_job_whose_task_exits_fails_and_its_worker_and_neighbours_go_on(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker()
    beside = shop.nap.enqueue(2, "beside")
    until(worker.runs)
    job = shop.exit_in_a_task.enqueue().wait(timeout=10)
    assert (job.state, job.attempt, job.failures[0].type) == (State.FAILED, 1, "SystemExit")
    assert beside.result(timeout=10) == "rested"
    assert worker.runs() == ["beside"]
    assert "wants to exit" in family.log
    assert family.stop() == 0


def test_a_job_that_always_kills_its_worker_is_failed_as_poison_and_whom_it_concerns_hears_of_it(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    worker()
    handle = shop.killer.enqueue()
    job = handle.wait(timeout=40)
    assert (job.state, job.reason, job.crashes) == (State.FAILED, "poison", 3)
    assert all(failure.crash is not None and failure.crash.how == "signal 9 (SIGKILL)" for failure in job.failures)
    assert shop.nap.enqueue(0, "after").result(timeout=20) == "rested"
    until(lambda: len(app.errors()) == 2)
    groups = {group.type: group for group in app.errors()}
    assert groups["WorkerDied"].count in (1, 2), "who is told of the first death may die the second"
    assert groups["ProcessDied"].count == 1, "the last time it ran alone"
    assert all(group.names == ("killer",) and group.samples == (handle.jid,) for group in groups.values())
    until(lambda: "given-up:ProcessDied" in worker.runs())
    assert worker.runs().count("given-up:ProcessDied") == 1


def test_a_job_killed_between_its_return_and_the_settling_runs_again_and_is_settled_once(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    worker()
    handle = shop.return_and_die_once.enqueue(str(tmp_path / "died"))
    assert handle.result(timeout=20) == "returned"
    assert len(worker.runs()) == 2
    assert (handle.job().attempt, handle.job().crashes) == (2, 1)
    stats = app.stats()
    assert (stats.processed, stats.failed, stats.running) == (1, 0, 0)


def test_a_machine_that_vanishes_is_made_good_by_another_within_twenty_seconds_at_stock_settings(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    families = [worker(), worker()]
    until(lambda: len(app.workers()) == 2)
    handle = shop.nap.enqueue(2, "nap")
    until(worker.runs)
    began = time.monotonic()
    next(family for family in families if worker.runners()["nap"] in family.children()).kill()
    until(lambda: len(worker.runs()) == 2, 30)
    assert time.monotonic() - began <= 20
    assert handle.result(timeout=20) == "rested"
    assert handle.job().crashes == 1


@pytest.mark.timeout(120)
def test_twenty_kills_of_workers_and_whole_families_at_random_moments_lose_nothing(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    chance = random.Random(20)
    settings = {"lease": "1s", "heartbeat": "0.3s", "max_crashes": "100"}
    app.enqueue_many([shop.nap.bind(0.1, f"{n}") for n in range(1_000)])
    families = [worker("--concurrency", "4", **settings) for _ in range(2)]
    for n in range(20):
        family = families.pop(0)
        until(lambda served=family: "serves" in served.log and served.children())  # type: ignore[misc]
        time.sleep(chance.uniform(0.05, 0.5))
        if n % 4 < 2:
            os.kill(family.children()[0], signal.SIGKILL)
            families.append(family)
        else:
            family.kill()
            families.append(worker("--concurrency", "4", **settings))
    worker("--concurrency", "50", **settings)
    until(lambda: app.stats().processed == 1_000, 60)
    check_invariants(app.database, app.ask)
    assert set(worker.runs()) == {str(n) for n in range(1_000)}, "each ran at least once"
    assert len(worker.runs()) - 1_000 <= 20 * 4, "only what was running when its worker died ran again"
    stats = app.stats()
    assert (stats.scheduled, stats.running, stats.failed) == (0, 0, 0)


def test_a_job_that_takes_all_descriptors_fails_and_its_worker_lives(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker()
    until(lambda: "serves" in family.log)
    before = family.children()
    handle = shop.take_descriptors.enqueue()  # the first of its worker, which has settled nothing yet
    job = handle.wait(20)
    assert (job.state, job.attempt, job.crashes) == (State.FAILED, 1, 0)
    assert "Too many open files" in job.failures[0].message
    assert family.children() == before
    family.kill()


def test_a_supervisor_without_descriptors_tells_of_a_death_once_it_has_some(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker("--processes", "2", lease="60s", heartbeat="5s")
    until(lambda: family.log.count("serves") == 2)
    usual = resource.prlimit(family.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(family.process.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    handle = shop.nap.enqueue(1, "nap")
    until(worker.runs)
    os.kill(worker.runners()["nap"], signal.SIGKILL)
    until(lambda: "cannot start a process" in family.log)
    resource.prlimit(family.process.pid, resource.RLIMIT_NOFILE, usual)
    assert handle.result(timeout=20) == "rested", "within the lease of who died"
    assert "Traceback" not in family.log
    assert family.stop() == 0
