"""Real worker processes under real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import Procession, State

APP = """
import asyncio, os, signal, time
from procession import Procession
app = Procession()

@app.job(name="die_once", queue="q")
def die_once(path: str) -> str:
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"

@app.job(name="killer", queue="q", retry=False)
async def killer() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@app.job(name="nap", queue="q")
async def nap(seconds: float, path: str) -> str:
    open(path, "w").close()
    await asyncio.sleep(seconds)
    return "rested"

@app.job(name="hog", queue="q")
async def hog(seconds: float, how: str) -> str:
    began = time.monotonic()
    if how == "sleep":
        time.sleep(seconds)
    else:  # C code that keeps the interpreter's lock
        while time.monotonic() - began < seconds:
            sum(range(40_000_000))
    return "done"
"""


@pytest.fixture
def app(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Procession]:
    (tmp_path / "shop.py").write_text(APP)
    app = Procession(valkey_url, namespace=namespace)
    yield app
    app.close()


@pytest.fixture
def worker(app: Procession, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str, **settings: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PROCESSION_URL": app.settings.url,
            "PROCESSION_NAMESPACE": app.settings.namespace,
            **{f"PROCESSION_{name.upper()}": value for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "procession", "worker", "shop:app", *options]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def jobs(app: Procession) -> dict[str, Any]:
    """The same names as in the worker's module, enqueued from here."""

    @app.job(name="die_once", queue="q")
    def die_once(path: str) -> str:
        return ""

    @app.job(name="killer", queue="q", retry=False)
    async def killer() -> None: ...

    @app.job(name="nap", queue="q")
    async def nap(seconds: float, path: str) -> str:
        return ""

    @app.job(name="hog", queue="q")
    async def hog(seconds: float, how: str) -> str:
        return ""

    return {"hog": hog, "die_once": die_once, "killer": killer, "nap": nap}


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


def test_a_job_that_kills_its_worker_runs_again_within_seconds(
    worker: Any, jobs: dict[str, Any], tmp_path: Path
) -> None:
    worker()
    handle = jobs["die_once"].enqueue(str(tmp_path / "died"))
    started = time.monotonic()
    assert handle.result(timeout=20) == "survived"
    assert time.monotonic() - started < 10
    job = handle.job()
    assert (job.crashes, job.attempt, job.failures[0].message) == (1, 2, "signal 9 (SIGKILL)")


def test_a_job_that_always_kills_its_worker_is_failed_as_poison(
    worker: Any, jobs: dict[str, Any], tmp_path: Path
) -> None:
    worker()
    handle = jobs["killer"].enqueue()
    job = handle.wait(timeout=40)
    assert (job.state, job.reason, job.crashes) == (State.FAILED, "poison", 3)
    assert jobs["nap"].enqueue(0, str(tmp_path / "after")).result(timeout=20) == "rested"


def test_a_worker_that_vanishes_with_its_supervisor_is_recovered_by_another(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    first = worker(lease="1s", heartbeat="0.3s")
    handle = jobs["nap"].enqueue(3, str(tmp_path / "begun"))
    until((tmp_path / "begun").exists)
    child = app.workers()[0].pid
    first.kill()
    os.kill(child, signal.SIGKILL)
    worker(lease="1s", heartbeat="0.3s")
    assert handle.result(timeout=30) == "rested"
    assert handle.job().crashes == 1


def test_a_worker_stopped_longer_than_its_lease_writes_nothing_when_it_wakes(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    worker(lease="1s", heartbeat="0.3s")
    handle = jobs["nap"].enqueue(2, str(tmp_path / "begun"))
    until((tmp_path / "begun").exists)
    child = app.workers()[0].pid
    os.kill(child, signal.SIGSTOP)
    try:
        worker(lease="1s", heartbeat="0.3s")
        job = handle.wait(timeout=30)
    finally:
        os.kill(child, signal.SIGCONT)
    assert (job.state, job.crashes, job.attempt) == (State.PROCESSED, 1, 2)
    until(lambda: len(app.workers()) == 2)
    assert app.stats().processed == 1
    assert handle.job() == job


def test_sigterm_finishes_what_runs_and_a_second_gives_it_back(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    process = worker()
    quick = jobs["nap"].enqueue(0.5, str(tmp_path / "quick"))
    until((tmp_path / "quick").exists)
    process.terminate()
    assert process.wait(timeout=20) == 0
    assert quick.job().state is State.PROCESSED

    process = worker()
    long = jobs["nap"].enqueue(60, str(tmp_path / "long"))
    until((tmp_path / "long").exists)
    process.send_signal(signal.SIGINT)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    job = long.job()
    assert (job.state, job.attempt, job.crashes) == (State.QUEUED, 0, 0)
    assert app.workers() == []


def test_children_finish_and_go_when_the_supervisor_is_killed(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    process = worker()
    handle = jobs["nap"].enqueue(1, str(tmp_path / "begun"))
    until((tmp_path / "begun").exists)
    process.kill()
    assert handle.result(timeout=20) == "rested"
    assert handle.job().attempt == 1
    until(lambda: app.workers() == [])


@pytest.mark.parametrize("how", ["sleep", "c code"])
def test_a_blocked_event_loop_costs_no_lease_and_is_reported(
    worker: Any, jobs: dict[str, Any], app: Procession, how: str
) -> None:
    worker(lease="2s", heartbeat="0.5s")
    worker(lease="2s", heartbeat="0.5s")
    until(lambda: len(app.workers()) == 2)
    handle = jobs["hog"].enqueue(8, how)
    assert handle.result(timeout=40) == "done"
    job = handle.job()
    assert (job.attempt, job.crashes) == (1, 0)


def test_an_app_that_cannot_be_imported_ends_the_worker_instead_of_looping(worker: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("raise RuntimeError('broken module')")
    assert worker().wait(timeout=20) != 0
