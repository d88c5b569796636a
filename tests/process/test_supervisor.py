"""Real worker processes under real signals: stopping, dying, being stopped, being left alone."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from types import ModuleType

import pytest

from procession import Procession, State
from procession.runtime.identity import new_worker_id
from tests.chaos.proxy import proxied
from tests.process.family import Families, until


def test_a_worker_stopped_longer_than_its_lease_writes_nothing_when_it_wakes(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker(lease="1s", heartbeat="0.3s")
    handle = shop.nap.enqueue(2, "nap")
    until(worker.runs)
    child = family.children()[0]
    os.kill(child, signal.SIGSTOP)
    try:
        other = worker(lease="1s", heartbeat="0.3s")
        job = handle.wait(timeout=30)
    finally:
        os.kill(child, signal.SIGCONT)
    assert (job.state, job.crashes, job.attempt) == (State.PROCESSED, 1, 2)
    # its nap is over, too, as it wakes: it hears of the loss by its next heartbeat, or by the answer to its outcome
    until(lambda: re.search("another worker owns it|outcome .* counts no more", family.log))
    assert other.stop() == 0
    assert shop.nap.enqueue(0, "next").result(timeout=20) == "rested", "the woken worker takes work again"
    assert app.stats().processed == 2
    assert handle.job() == job


def test_sigterm_finishes_what_runs_and_a_second_gives_it_back(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker()
    quick = shop.nap.enqueue(0.5, "quick")
    until(worker.runs)
    assert family.stop() == 0
    assert quick.job().state is State.PROCESSED

    family = worker()
    long = shop.nap.enqueue(60, "long")
    until(lambda: "long" in worker.runs())
    family.process.send_signal(signal.SIGINT)
    until(lambda: "stopping: finishing" in family.log)
    family.process.send_signal(signal.SIGINT)
    assert family.process.wait(timeout=20) == 0
    job = long.job()
    assert (job.state, job.attempt, job.crashes) == (State.QUEUED, 0, 0)
    assert app.workers() == []


def test_a_service_manager_that_signals_all_processes_asks_once_not_twice(worker: Families, shop: ModuleType) -> None:
    family = worker()
    handle = shop.nap.enqueue(1.5, "nap")
    until(worker.runs)
    for pid in [family.process.pid, *family.children(), *family.children()]:
        os.kill(pid, signal.SIGTERM)
    assert family.process.wait(timeout=20) == 0
    assert handle.job().state is State.PROCESSED
    assert handle.job().attempt == 1


def test_a_child_that_is_told_to_go_by_somebody_else_is_replaced(worker: Families, shop: ModuleType) -> None:
    family = worker()
    until(lambda: "serves" in family.log)
    child = family.children()[0]
    os.kill(child, signal.SIGTERM)
    until(lambda: family.children() not in ([child], []))
    assert shop.nap.enqueue(0, "nap").result(timeout=20) == "rested"
    assert re.search("WARNING .* by a signal that was not ours; another starts in 0.1 s", family.log)
    assert "ERROR" not in family.log
    assert family.stop() == 0


def test_a_reload_that_reaches_every_process_interrupts_no_job(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    """As `systemctl kill -s HUP`, or `pkill -HUP -f procession`."""
    family = worker()
    handles = [shop.nap.enqueue(2, "loop"), shop.doze.enqueue(2, "thread"), shop.apart.enqueue(2, "process")]
    until(lambda: len(worker.runs()) == 3)
    [child] = family.children()
    os.kill(worker.runners()["process"], signal.SIGHUP)
    os.kill(child, signal.SIGHUP)
    until(lambda: "is to take over" in family.log)
    os.kill(family.process.pid, signal.SIGHUP)
    assert [(it.state, it.attempt) for it in (handle.wait(20) for handle in handles)] == [(State.PROCESSED, 1)] * 3
    until(lambda: len(family.children()) == 1 and child not in family.children())
    assert family.stop() == 0


@pytest.mark.parametrize("why", ["told to go", "broken"])
def test_a_child_that_is_done_ends_whatever_jobs_have_left_behind(
    why: str, worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    """A thread that does not return, of the loop's own pool or of the job's making, keeps no process."""
    family = worker()
    until(lambda: len(family.children()) == 1)
    [child] = family.children()
    if why == "told to go":
        assert shop.leave_behind.enqueue().wait(20).state is State.FAILED
        os.kill(child, signal.SIGTERM)
    else:
        broken = shop.break_the_worker.enqueue(str(tmp_path / "broken"))
    until(lambda: family.children() not in ([], [child]), 20)
    if why == "broken":
        assert broken.result(timeout=20) == "mended"
        assert "ZeroDivisionError" in family.log
    assert family.stop() == 0


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_what_a_job_forks_has_signals_of_its_own(executor: str, worker: Families, shop: ModuleType) -> None:
    family = worker()
    began = time.monotonic()
    job = shop.fork if executor == "thread" else shop.fork_apart
    pid, code = job.enqueue().result(timeout=20)
    assert time.monotonic() - began < 10
    assert code == -signal.SIGTERM
    if executor == "thread":
        assert shop.fork.enqueue().result(timeout=20)[0] == pid, "the worker was not told to go"
    assert family.stop() == 0


def test_children_of_a_killed_supervisor_keep_their_lease_finish_and_go(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker(lease="1s", heartbeat="0.3s")
    handle = shop.nap.enqueue(4, "long")
    until(worker.runs)
    orphan = family.children()[0]
    worker(lease="1s", heartbeat="0.3s")
    until(lambda: len(app.workers()) == 2)
    family.process.kill()
    family.process.wait()
    until(lambda: "the supervisor is gone" in family.log)
    for n in range(20):
        shop.nap.enqueue(0, f"after{n}")
    assert handle.result(timeout=20) == "rested"
    until(lambda: len(app.workers()) == 1)
    until(lambda: app.stats().processed == 21)
    assert sorted(worker.runs()) == sorted(set(worker.runs())), "no job ran twice"
    assert handle.job().attempt == 1
    assert orphan not in [pid for mark, pid in worker.runners().items() if mark != "long"], "it claimed nothing more"


def test_a_silent_store_holds_up_neither_signals_nor_the_replacement_of_the_dead(
    worker: Families, shop: ModuleType
) -> None:
    with proxied(shop.app.settings.url) as proxy:
        family = worker("--processes", "3", url=proxy.url, lease="2s", heartbeat="0.5s")
        until(lambda: family.log.count("serves") == 3)
        blocked = shop.hog.enqueue(1.5, "sleep")  # its lease wants to be extended all the time
        until(worker.runs)
        proxy.swallow(True)
        before = family.children()
        victim = next(pid for pid in before if pid not in worker.runners().values())
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: len(family.children()) == 3 and victim not in family.children())
        assert time.monotonic() - began < 2
        proxy.swallow(False)
        proxy.reset()
        assert blocked.result(timeout=20) == "done"
        until(lambda: family.log.count("serves") == 4)
        leases = {it.id: it.lease_until for it in shop.app.workers()}  # a beat later, the outcome has its answer
        until(lambda: all(it.lease_until > leases.get(it.id, 0) + 500 for it in shop.app.workers()))
        proxy.swallow(True)
        assert family.stop() == 0, "nothing runs, so nobody waits for the store"


def test_no_two_starts_share_a_name_in_the_store_so_old_jobs_are_not_kept_alive_by_new_workers() -> None:
    assert new_worker_id() != new_worker_id()


def test_an_app_that_cannot_be_imported_ends_the_worker_instead_of_looping(worker: Families, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("raise RuntimeError('broken module')")
    assert worker().process.wait(timeout=20) != 0
