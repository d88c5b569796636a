"""What jobs can do to real workers: processes that end with them, signals to all, jobs that kill, threads that hang."""

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

SHOP = """
import asyncio, os, signal, time
from procession import Procession
app = Procession()

@app.job(name="hog", queue="q", executor="process")
def hog(path: str) -> None:
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    sum(range(10**12))  # C code that keeps the interpreter's lock for hours

@app.job(name="busy", queue="q", executor="process")
def busy(seconds: float, path: str) -> str:
    began = time.monotonic()
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while time.monotonic() - began < seconds:
        sum(range(10_000_000))
    return "done"

@app.job(name="killer", queue="q", retry=False)
async def killer() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@app.job(name="good", queue="q", retry=False)
async def good(number: int) -> int:
    await asyncio.sleep(0.3)
    return number

@app.job(name="stuck", queue="q", retry=False, timeout=0.5)
def stuck() -> None:
    time.sleep(3600)

@app.job(name="quick", queue="q")
def quick(number: int) -> int:
    return number
"""

SCRIPT = """
import asyncio, os
from procession import Procession, current_job
app = Procession("memory://script")

@app.job(executor="process")
def where() -> int:
    current_job().log.warning("said in the job process")
    print("printed there")
    return os.getpid()

async def main() -> None:
    from procession.runtime.queue_worker import QueueWorker
    worker = QueueWorker(app)
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(0)
    handle = where.enqueue()
    print(await handle.result_async(30) != os.getpid(), handle.job().name)
    worker.stop()
    await running
    await app.close_async()

if __name__ == "__main__":
    asyncio.run(main())
    app.close()
"""


@pytest.fixture
def app(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Procession]:
    (tmp_path / "shop.py").write_text(SHOP)
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
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def jobs(app: Procession) -> dict[str, Any]:
    """The same names as in the worker's module, enqueued from here."""

    @app.job(name="hog", queue="q")
    def hog(path: str) -> None: ...

    @app.job(name="busy", queue="q")
    def busy(seconds: float, path: str) -> str:
        return ""

    @app.job(name="killer", queue="q")
    async def killer() -> None: ...

    @app.job(name="good", queue="q")
    async def good(number: int) -> int:
        return 0

    @app.job(name="stuck", queue="q")
    def stuck() -> None: ...

    @app.job(name="quick", queue="q")
    def quick(number: int) -> int:
        return 0

    return {"hog": hog, "busy": busy, "killer": killer, "good": good, "stuck": stuck, "quick": quick}


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


def written(path: Path) -> int:
    """The process id that a job has written down, 0 until it has."""
    return int(path.read_text() or 0) if path.exists() else 0


def gone(pid: int) -> bool:
    """It has ended, though perhaps nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when the interpreter's lock is given back")
def test_a_job_process_ends_with_its_worker_even_while_c_code_keeps_the_interpreters_lock(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    worker()
    jobs["hog"].enqueue(str(tmp_path / "hog"))
    pid = until(lambda: written(tmp_path / "hog"))
    os.kill(app.workers()[0].pid, signal.SIGKILL)
    until(lambda: gone(pid), 5)


def test_a_signal_to_every_process_of_the_service_lets_running_jobs_finish(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    """As Ctrl-C at a terminal does for a process group, and systemd with its default KillMode for a whole service."""
    process = worker()
    handle = jobs["busy"].enqueue(2, str(tmp_path / "busy"))
    pid = until(lambda: written(tmp_path / "busy"))
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0
    job = handle.job()
    assert (job.state, job.attempt, job.crashes) == (State.PROCESSED, 1, 0)
    assert gone(pid)
    assert app.workers() == []


def test_a_job_process_that_keeps_the_interpreters_lock_costs_no_lease(
    worker: Any, jobs: dict[str, Any], app: Procession, tmp_path: Path
) -> None:
    for _ in range(2):
        worker(lease="0.6s", heartbeat="0.2s")
    until(lambda: len(app.workers()) == 2)
    handle = jobs["busy"].enqueue(3, str(tmp_path / "busy"))
    assert handle.result(timeout=30) == "done"
    job = handle.job()
    assert (job.attempt, job.crashes) == (1, 0)


def test_a_job_that_kills_its_worker_takes_no_innocent_neighbour_with_it(
    worker: Any, jobs: dict[str, Any], app: Procession
) -> None:
    calls = [jobs["good"].bind(number) for number in range(100)]
    calls.insert(50, jobs["killer"].bind())
    handles = app.enqueue_many(calls)
    killer = handles.pop(50)
    worker("--concurrency", "101")
    found = killer.wait(timeout=50)
    assert (found.state, found.reason, found.crashes, found.attempt) == (State.FAILED, "poison", 3, 3)
    assert [failure.type for failure in found.failures] == ["WorkerDied", "WorkerDied", "ProcessDied"]
    assert [handle.result(timeout=50) for handle in handles] == [*range(100)]
    assert {handle.job().crashes for handle in handles} <= {0, 1, 2}
    assert len(app.workers()) == 1
    assert app.stats().processed == 100


def test_a_worker_that_has_lost_its_threads_makes_way_and_the_next_jobs_do_not_wait_for_them(
    worker: Any, jobs: dict[str, Any], app: Procession
) -> None:
    process = worker("--threads", "4")
    (before,) = until(app.workers)
    stuck = app.enqueue_many(jobs["stuck"].bind() for _ in range(4))
    for handle in stuck:
        job = handle.wait(timeout=30)
        assert (job.state, job.failures[0].type) == (State.FAILED, "JobTimeout")
    quick = app.enqueue_many(jobs["quick"].bind(number) for number in range(10))
    assert [handle.result(timeout=30) for handle in quick] == [*range(10)]
    until(lambda: len(app.workers()) == 1)
    assert app.workers()[0].pid != before.pid
    process.terminate()
    assert process.wait(timeout=30) == 0


def test_a_script_that_performs_its_own_jobs_needs_no_more_than_its_file(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(SCRIPT)
    said = subprocess.run([sys.executable, "jobs.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.stdout.splitlines() == ["printed there", "True jobs.where"], said.stderr
    assert said.stderr.endswith("WARNING said in the job process\n")
