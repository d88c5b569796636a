"""Jobs that have killed their process before, in a worker that performs its other jobs elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from procession import Procession
from procession.job import Claimed
from procession.runtime import active
from procession.runtime.performer import Performer
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
    busy, let_other_go, let_go = threading.Event(), threading.Event(), threading.Event()

    @local.job(name="suspect")
    def job(n: int) -> None:
        let_go.wait(20)

    @local.job(name="other")
    def other() -> None:
        busy.set()
        let_other_go.wait(20)

    async def main() -> None:
        async with working(local, target="begins_once:app", threads=1) as worker:
            threads = worker._performer._threads
            monkeypatch.setattr(threads._pace, "soon", lambda: 9)  # it claims though its thread is busy
            await job.enqueue(1).wait_async(30)
            module.write_text("raise RuntimeError('broken module')")
            other.enqueue()
            await until(busy.is_set)
            (pid,) = pids(worker)
            os.kill(pid, signal.SIGSTOP)
            handle = job.using(timeout=0.5).enqueue(2)
            await until(lambda: any(it.active for it in executor(worker)._lives))
            os.kill(pid, signal.SIGKILL)
            await until(lambda: threads.waiting)
            let_other_go.set()  # so that its thread goes on with the suspect by itself
            await until(lambda: "JobTimeout" in (handle.job().error or ""), 5)
            let_go.set()

    asyncio.run(main())
