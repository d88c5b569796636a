"""New releases, restarts and recycling under load: nothing is lost, nothing is charged, a place is never empty."""

from __future__ import annotations

import os
import pty
import resource
import signal
import ssl
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from procession import Procession, State
from procession.config import Settings
from procession.errors import ConfigError
from procession.runtime.blackbox import ended
from procession.runtime.children import Child
from procession.runtime.wear import Wear
from procession.testing.contract.invariants import check_invariants
from tests.process.family import Families, until

SLOW = """
import os, sys, time
program = sys.modules["__main__"].__spec__.name
open(f"importing.{program}", "w").close()
if program == "procession.runtime.child" or os.path.exists("slow"):
    time.sleep(30)
"""
THREADS_ONLY = """
import time
from procession import Procession
app = Procession()

@app.job(name="doze", queue="q")
def doze(seconds: float, mark: str) -> str:
    time.sleep(seconds)
    return "rested"
"""
FAST = {"lease": "3s", "heartbeat": "0.3s"}


def fewest_serving(app: Procession, done: object, seconds: float = 30) -> int:
    """The smallest number of workers seen until `done()`."""
    fewest = 99

    def look() -> bool:
        nonlocal fewest
        fewest = min(fewest, len(app.workers()))
        return bool(done())  # type: ignore[operator]

    until(look, seconds)
    return fewest


@pytest.mark.timeout(120)
def test_ten_deploys_under_load_run_no_job_twice_and_deploys_without_grace_charge_nothing(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    enqueued = 0

    def load(count: int) -> None:
        nonlocal enqueued
        jobs = [shop.nap.bind(0.05 * (n % 5), f"{n}") for n in range(enqueued, enqueued + count)]
        app.enqueue_many(jobs)
        enqueued += count

    load(100)
    families = [worker("--concurrency", "8", **FAST) for _ in range(2)]
    for _ in range(10):
        old = families.pop(0)
        families.append(worker("--concurrency", "8", **FAST))
        until(lambda served=old: "serves" in served.log)  # type: ignore[misc]
        load(60)
        assert old.stop() == 0
    until(lambda: app.stats().processed == enqueued, 30)
    assert sorted(worker.runs()) == sorted(str(n) for n in range(enqueued)), "each ran once"

    for family in families:
        assert family.stop() == 0
    for _ in range(2):
        family = worker("--concurrency", "8", grace="0", **FAST)
        load(60)
        until(lambda: len(worker.runs()) >= enqueued - 30)
        assert family.stop() == 0
    worker(**FAST)
    until(lambda: app.stats().processed == enqueued, 30)
    check_invariants(app.database, app.ask)
    assert set(worker.runs()) == {str(n) for n in range(enqueued)}
    page = app.jobs("processed", limit=1_000)
    assert {(job.attempt, job.crashes) for job in page.jobs} == {(1, 0)}


def test_at_the_end_of_the_grace_what_still_runs_is_given_back_uncharged_and_runs_elsewhere(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker("--threads", "4", "--concurrency", "16", grace="3s", **FAST)
    quick = [shop.nap.enqueue(1.5, f"quick{n}") for n in range(4)]
    long = [shop.nap.enqueue(60, f"long{n}") for n in range(4)]
    busy = [shop.doze.enqueue(1.5, f"busy{n}") for n in range(4)]
    until(lambda: len(worker.runs()) == 12)
    waiting = [shop.doze.enqueue(0, f"waiting{n}") for n in range(4)]  # claimed, and waiting for a thread
    until(lambda: {handle.job().state for handle in waiting} == {State.RUNNING})
    began = time.monotonic()
    family.process.terminate()
    until(lambda: {handle.job().state for handle in waiting} == {State.QUEUED})
    assert family.process.wait(timeout=20) == 0
    assert time.monotonic() - began < 10
    assert {handle.job().state for handle in [*quick, *busy]} == {State.PROCESSED}
    for handle in [*long, *waiting]:
        job = handle.job()
        assert (job.state, job.attempt, job.crashes) == (State.QUEUED, 0, 0)
    worker(**FAST)
    for handle in waiting:
        assert handle.result(timeout=20) == "rested"
    until(lambda: [mark[:4] for mark in worker.runs()].count("long") == 8)


@pytest.mark.parametrize("when", ["the supervisor imports", "the worker imports", "the worker imports, twice"])
def test_sigterm_while_starting_ends_at_once_and_well(
    when: str, worker: Families, shop: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SLOW + (tmp_path / "shop.py").read_text())
    if when == "the supervisor imports":
        (tmp_path / "slow").touch()
    family = worker()
    program = "procession.__main__" if when == "the supervisor imports" else "procession.runtime.child"
    until((tmp_path / f"importing.{program}").exists)
    began = time.monotonic()
    family.process.terminate()
    if when.endswith("twice"):
        family.process.terminate()
    assert family.process.wait(timeout=20) == 0
    assert time.monotonic() - began < 5


def test_a_second_sigterm_in_the_last_moments_changes_nothing(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    # Python puts the default back for each signal that has a handler, before it lets go of what modules hold.
    last = """
class Last:
    def __del__(self, touch=open, sleep=time.sleep):
        touch(HOME + "/last", "w").close()  # in the supervisor alone: its children end without these moments
        sleep(1.5)
last = Last()
"""
    (tmp_path / "shop.py").write_text((tmp_path / "shop.py").read_text() + last)
    family = worker(**FAST)
    until(app.workers)
    family.process.terminate()
    until((tmp_path / "last").exists)
    family.process.terminate()
    assert family.process.wait(timeout=20) == 0


def test_sigterm_while_the_store_is_away_ends_at_once_and_well(
    worker: Families, shop: ModuleType, tmp_path: Path
) -> None:
    family = worker(url=f"unix://{tmp_path}/nowhere")
    until(lambda: "no answer from the store" in family.log)
    began = time.monotonic()
    assert family.stop() == 0
    assert time.monotonic() - began < 5


def test_sighup_brings_new_code_in_worker_by_worker_with_no_place_ever_empty(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    family = worker("--processes", "2", **FAST)
    until(lambda: len(app.workers()) == 2)
    assert shop.version.enqueue().result(timeout=20) == "old"
    before = set(family.children())
    good = (tmp_path / "shop.py").read_text()

    (tmp_path / "shop.py").write_text("import nothing_like_this")
    family.process.send_signal(signal.SIGHUP)
    until(lambda: "a replacement, could not begin" in family.log)
    assert set(family.children()) >= before
    assert shop.version.enqueue().result(timeout=20) == "old", "the old ones go on"

    (tmp_path / "shop.py").write_text(good.replace('"old"', '"new"'))
    naps = app.enqueue_many([shop.nap.bind(0.2, f"{n}") for n in range(200)])
    assert fewest_serving(app, lambda: not before & set(family.children())) >= 2
    until(lambda: len(family.children()) == 2)
    assert {shop.version.enqueue().result(timeout=20) for _ in range(4)} == {"new"}
    until(lambda: {handle.job().state for handle in naps} == {State.PROCESSED})
    assert len(worker.runs()) == 200, "no job ran twice"
    assert family.stop() == 0


def test_a_release_that_takes_long_to_fail_is_tried_again_after_pauses_that_grow_as_well(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    family = worker(patch="import procession.runtime.seat\nprocession.runtime.seat.HEALTHY = 0.1", **FAST)
    until(app.workers)
    (tmp_path / "shop.py").write_text("import time; time.sleep(0.2); import nothing_like_this")
    family.process.send_signal(signal.SIGHUP)
    until(lambda: "another try in 0.4 s" in family.log)
    assert family.stop() == 0


def test_a_release_that_never_begins_makes_way_for_the_next_one(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    family = worker(**FAST)
    until(app.workers)
    [first] = family.children()
    good = (tmp_path / "shop.py").read_text()
    (tmp_path / "shop.py").write_text("import time; open('hangs', 'w').close(); time.sleep(3600)")
    family.process.send_signal(signal.SIGHUP)
    until((tmp_path / "hangs").exists)
    (tmp_path / "shop.py").write_text(good.replace('"old"', '"newer"'))
    family.process.send_signal(signal.SIGHUP)
    until(lambda: len(family.children()) == 1 and first not in family.children())
    assert shop.version.enqueue().result(timeout=20) == "newer"
    assert " died: " not in family.log
    assert family.stop() == 0


def test_workers_are_recycled_by_the_number_of_their_jobs_the_replacement_first(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    family = worker("--processes", "2", "--max-jobs", "100", "--concurrency", "10", **FAST)
    until(lambda: len(app.workers()) == 2)
    before = set(family.children())
    app.enqueue_many([shop.nap.bind(0.05, f"{n}") for n in range(400)])
    assert fewest_serving(app, lambda: not before & set(family.children())) >= 2
    until(lambda: app.stats().processed == 400)
    assert len(worker.runs()) == 400
    assert "jobs" in family.log
    assert family.stop() == 0


@pytest.mark.parametrize("bound", ["age", "memory"])
def test_workers_are_recycled_by_age_and_by_memory_the_replacement_first(
    bound: str, worker: Families, shop: ModuleType, app: Procession
) -> None:
    options = {"age": ("--max-age", "4s"), "memory": ("--max-rss", "200MB")}[bound]
    family = worker("--processes", "2", "--concurrency", "4", *options, **FAST)
    until(lambda: len(app.workers()) == 2)
    before = set(family.children())
    naps = app.enqueue_many([shop.nap.bind(0.1, f"{n}") for n in range(200)])
    if bound == "memory":
        app.enqueue_many([shop.hoard.bind(100) for _ in range(8)])
    assert fewest_serving(app, lambda: not before & set(family.children())) >= 2
    until(lambda: {handle.job().state for handle in naps} == {State.PROCESSED})
    assert sorted(worker.runs()) == sorted(f"{n}" for n in range(200)), "each ran once"
    assert f"this worker should be replaced: it {'is' if bound == 'age' else 'holds'} " in family.log
    if bound == "memory":
        until(lambda: max(it.memory for it in app.workers()) < 200e6)
    assert family.stop() == 0


def test_a_worker_is_worn_out_by_jobs_age_and_memory_and_no_two_at_the_same_moment() -> None:
    settings = Settings.load(max_jobs=1_000, max_age="1h", max_rss="1MB")
    drawn = [Wear.of(settings) for _ in range(50)]
    assert len({wear.max_jobs for wear in drawn}) > 10
    assert all(900 <= wear.max_jobs <= 1_000 and 3_240 <= wear.max_age <= 3_600 for wear in drawn)
    assert "it has performed 1000 jobs" in drawn[0].out(jobs=1_000, age=0)
    assert "it is 3600 s old" in drawn[0].out(jobs=0, age=3_600)
    assert "MB" in drawn[0].out(jobs=0, age=0)
    assert Wear.of(Settings.load(max_jobs=1)).max_jobs == 1
    assert Wear.of(Settings.load()).out(jobs=10**9, age=10**9) == ""
    for wrong in ({"max_jobs": -1}, {"max_age": "soon"}, {"max_rss": "much"}):
        with pytest.raises(ConfigError):
            Settings.load(**wrong)


def test_a_terminal_that_goes_away_ends_the_worker_though_the_same_signal_renews_it(
    worker: Families, shop: ModuleType
) -> None:
    master, slave = pty.openpty()
    open_it = f"import os; os.open({os.ttyname(slave)!r}, os.O_RDWR)"  # a session leader gets its terminal so
    family = worker(patch=open_it)
    until(lambda: "serves" in family.log)
    family.process.send_signal(signal.SIGHUP)
    until(lambda: "renewing" in family.log)
    os.close(slave)
    os.close(master)
    assert family.process.wait(timeout=20) == 0


def test_a_want_of_descriptors_is_no_terminal_that_went_away(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    master, slave = pty.openpty()
    family = worker(patch=f"import os; os.open({os.ttyname(slave)!r}, os.O_RDWR)")
    until(lambda: "serves" in family.log)
    [child] = family.children()
    usual = resource.prlimit(family.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(family.process.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    family.process.send_signal(signal.SIGHUP)
    until(lambda: "cannot start a process" in family.log)
    assert "stopping" not in family.log
    resource.prlimit(family.process.pid, resource.RLIMIT_NOFILE, usual)
    until(lambda: len(family.children()) == 1 and child not in family.children())
    assert family.stop() == 0
    os.close(slave)
    os.close(master)


@pytest.mark.timeout(120)
def test_a_hundred_starts_from_a_parent_with_threads_and_ssl_all_end_when_they_are_told() -> None:
    ssl.create_default_context()
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    asked = {"target": "nowhere:app", "log_level": 50}
    for n in range(100):
        child = Child(asked, grace=5)
        time.sleep(0.002 * (n % 10))  # at any point of its start
        child.stop()
        how = ended(child.process, wait=True)
        assert how is not None
        assert child.ended_well(how), how
        child.close()
    done.set()
    for thread in threads:
        thread.join()


def test_a_burst_recycles_its_workers_as_often_as_they_are_worn_out(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    for at in range(60):
        shop.nap.enqueue(0.2, f"n{at}")
    family = worker("--burst", "--max-jobs", "5", "--concurrency", "1", heartbeat="0.2s", lease="4s")
    assert family.process.wait(timeout=60) == 0
    assert app.stats().processed == 60
    assert len(set(worker.runners().values())) > 2


def test_a_burst_that_is_done_waits_for_no_replacement(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    running = shop.nap.enqueue(60, "nap")
    family = worker("--burst")
    until(worker.runs)
    (worker.folder / "shop.py").write_text("import time; time.sleep(3600)")
    family.process.send_signal(signal.SIGHUP)
    until(lambda: len(family.children()) == 2)
    running.cancel()
    assert family.process.wait(timeout=20) == 0


def test_a_burst_that_has_lost_its_threads_goes_on_in_a_fresh_process(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    (worker.folder / "shop.py").write_text(THREADS_ONLY)
    hanging = [shop.doze.using(timeout=0.3, attempts=1).enqueue(3600, "hangs") for _ in range(2)]
    quick = [shop.doze.enqueue(0, f"n{at}") for at in range(5)]
    family = worker("--burst", "--threads", "1")
    assert family.process.wait(timeout=30) == 0
    assert {handle.job().state for handle in hanging} == {State.FAILED}
    assert {handle.job().state for handle in quick} == {State.PROCESSED}
