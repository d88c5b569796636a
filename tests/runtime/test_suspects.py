"""Jobs that have killed their process before, in a worker that performs its other jobs elsewhere."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from procession import JobHandle, Procession, State
from procession.job import Claimed
from procession.runtime import active
from procession.runtime.performer import Performer
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.test_job_processes import executor, pids
from tests.runtime.working import until, working


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> list[Claimed]:
    """All that is claimed; a job named "suspect" has crashed before."""
    begin, seen = Performer.begin, list[Claimed]()

    def begun(self: Performer, jobs: Sequence[Claimed]) -> None:
        marked = [replace(job, crashes=2 if b"suspect" in bytes(job.spec) else 0) for job in jobs]
        seen.extend(marked)
        begin(self, marked)

    monkeypatch.setattr(Performer, "begin", begun)
    return seen


def test_suspects_that_wait_for_a_process_are_not_given_back_and_claimed_again(
    claimed: list[Claimed], monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 0.05)
    local = Procession(f"memory://{namespace}", namespace=namespace, job_processes=1)

    @local.job(name="suspect")
    def job() -> None: ...

    async def main() -> None:
        async with working(local, target="shop:app") as worker:
            monkeypatch.setattr(executor(worker), "fill", lambda: None)  # its process has a long job
            local.enqueue_many(job.bind() for _ in range(4))
            await until(lambda: len(executor(worker).waiting) == 4)
            await asyncio.sleep(0.3)
            assert (len(claimed), len(executor(worker).waiting)) == (4, 4)

    asyncio.run(main())


def test_a_suspect_whose_process_was_gone_is_watched_in_a_thread(
    claimed: list[Claimed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, namespace: str
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(active, "OVERDUE", 60.0)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "begins_once.py"
    module.write_text("import procession as p\napp = p.Procession()\n@app.job(name='suspect')\ndef job(n): ...")
    local = Procession(f"memory://{namespace}", namespace=namespace, job_processes=1)
    busy, let_others_go, let_go = threading.Semaphore(0), threading.Event(), threading.Event()

    @local.job(name="suspect")
    def job(n: int) -> None:
        let_go.wait(20)

    @local.job(name="other")
    def other() -> None:
        busy.release()
        let_others_go.wait(20)

    async def main() -> None:
        async with working(local, target="begins_once:app", threads=2) as worker:
            threads = worker._performer._threads
            monkeypatch.setattr(threads._pace, "soon", lambda: 9)  # it claims though its threads are busy
            await job.enqueue(1).wait_async(30)
            module.write_text("raise RuntimeError('broken module')")
            other.enqueue()
            await until(partial(busy.acquire, blocking=False))
            (pid,) = pids(worker)
            os.kill(pid, signal.SIGSTOP)
            handle = job.using(timeout=0.5).enqueue(2)
            await until(lambda: any(it.active for it in executor(worker)._lives))
            other.enqueue()
            await until(lambda: threads.waiting)  # for the place that the suspect has
            os.kill(pid, signal.SIGKILL)
            await until(partial(busy.acquire, blocking=False))
            await until(lambda: threads.waiting)
            let_others_go.set()  # so that a thread goes on with the suspect by itself
            await until(lambda: "JobTimeout" in (handle.job().error or ""), 5)
            let_go.set()

    asyncio.run(main())


class OneByOne:
    """An app whose jobs say when they begin, and end once a file of their name is there."""

    def __init__(self, folder: Path, namespace: str, kind: str) -> None:
        self._folder = folder
        sleep = "time.sleep" if kind == "def" else "await asyncio.sleep"
        module = f"one_{kind.replace(' ', '_')}_{namespace.replace('.', '_')}"
        self.target = f"{module}:app"
        (folder / f"{module}.py").write_text(
            f"""
import asyncio, pathlib, time
import procession
app = procession.Procession("memory://{namespace}", namespace="{namespace}", job_processes=2)
here = pathlib.Path({str(folder)!r})
def say(what):
    with open(here / "said", "a") as file:
        file.write(what + " ")
{kind} job(name):
    say("+" + name)
    while not (here / name).exists():
        {sleep}(0.005)
    say("-" + name)
usual, suspect = app.job(name="usual")(job), app.job(name="suspect")(job)
"""
        )
        self._jobs = importlib.import_module(module)
        self.app: Procession = self._jobs.app

    def enqueue(self, job: str, name: str) -> JobHandle[None]:
        handle: JobHandle[None] = getattr(self._jobs, job).enqueue(name)
        return handle

    def said(self) -> str:
        path = self._folder / "said"
        return path.read_text() if path.exists() else ""

    def end(self, name: str) -> None:
        (self._folder / name).touch()


@pytest.fixture
def one_by_one(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, namespace: str
) -> OneByOne:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.syspath_prepend(str(tmp_path))
    return OneByOne(tmp_path, namespace, request.param)


def claims_ahead(worker: QueueWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims though its place is taken."""
    for kind in (worker._performer._threads, worker._performer._tasks):
        monkeypatch.setattr(kind._pace, "soon", lambda: 9)


@pytest.mark.parametrize("one_by_one", ["async def", "def"], indirect=True)
def test_a_suspect_runs_alone_where_a_worker_runs_one_job_at_a_time(
    one_by_one: OneByOne, claimed: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 60.0)

    async def main() -> None:
        async with working(one_by_one.app, target=one_by_one.target, concurrency=1) as worker:
            claims_ahead(worker, monkeypatch)
            one_by_one.enqueue("usual", "first")
            await until(lambda: one_by_one.said() == "+first ")
            one_by_one.enqueue("suspect", "second")
            one_by_one.enqueue("usual", "third")
            await until(lambda: len(claimed) == 3 and any(it.names for it in executor(worker)._lives))
            assert executor(worker)._idle  # and none has begun the second
            one_by_one.end("third")
            one_by_one.end("first")
            await until(lambda: one_by_one.said() == "+first -first +second ")
            one_by_one.end("second")
            await until(lambda: one_by_one.said() == "+first -first +second -second +third -third ")
            await until(lambda: worker._performer.idle)

    asyncio.run(main())


@pytest.mark.parametrize("one_by_one", ["async def"], indirect=True)
def test_a_suspect_that_waits_for_a_place_of_its_kind_is_given_back_to_whoever_has_one(
    one_by_one: OneByOne, claimed: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 0.05)

    async def main() -> None:
        async with working(one_by_one.app, target=one_by_one.target, concurrency=1) as worker:
            one_by_one.enqueue("usual", "first")
            await until(lambda: one_by_one.said() == "+first ")
            with monkeypatch.context() as while_claimed:
                claims_ahead(worker, while_claimed)
                handle = one_by_one.enqueue("suspect", "second")
                await until(lambda: len(claimed) == 2)
            await until(lambda: handle.job().state == State.QUEUED)
            assert (one_by_one.said(), len(claimed)) == ("+first ", 2)
            one_by_one.end("first")
            one_by_one.end("second")
            await until(lambda: one_by_one.said() == "+first -first +second -second ")
            assert handle.job().attempt == 1

    asyncio.run(main())


@pytest.mark.parametrize("one_by_one", ["async def"], indirect=True)
def test_a_suspect_that_waits_for_a_place_has_one_process_started(
    one_by_one: OneByOne, claimed: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 60.0)

    async def main() -> None:
        async with working(one_by_one.app, target=one_by_one.target, concurrency=2) as worker:
            claims_ahead(worker, monkeypatch)
            for name in ("first", "second"):
                one_by_one.enqueue("usual", name)
            await until(lambda: one_by_one.said().count("+") == 2)
            one_by_one.enqueue("suspect", "third")
            await until(lambda: executor(worker)._idle)
            assert len(executor(worker)._lives) == 1
            for name in ("first", "second", "third"):
                one_by_one.end(name)
            await until(lambda: one_by_one.said().endswith("-third "))

    asyncio.run(main())
