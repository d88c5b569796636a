"""A queue worker in a program of one's own that is cancelled, as by Ctrl-C in `asyncio.run`: no job pays for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from procession import Procession, State
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import until

Program = Callable[[QueueWorker, Callable[[], Any]], Coroutine[Any, Any, None]]


class Over(BaseException):
    """As KeyboardInterrupt is: it ends the program."""


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=60.0)  # nothing here is mended by its end


async def alone(worker: QueueWorker, begun: Callable[[], Any]) -> None:
    """Ctrl-C in `asyncio.run(worker.run())` cancels its task."""
    working = asyncio.ensure_future(worker.run())
    await until(begun)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def beside_others(worker: QueueWorker, begun: Callable[[], Any]) -> None:
    """`gather` hears first of those that end at once; what is still winding down is cancelled again by the loop."""
    both = asyncio.gather(worker.run(), asyncio.sleep(60))
    await until(begun)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    raise Over


async def forgotten(worker: QueueWorker, begun: Callable[[], Any]) -> None:
    """A loop that ends cancels the worker and the tasks of its jobs in any order."""
    working = asyncio.ensure_future(worker.run())
    await until(begun)
    assert not working.done()
    raise Over


@pytest.mark.parametrize("program", [alone, beside_others, forgotten])
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_cancelled_worker_gives_back_what_it_runs_and_leaves(app: Procession, program: Program, kind: str) -> None:
    begun, let_go = threading.Event(), threading.Event()

    @app.job(name="sync", retry=False)
    def sync() -> None:
        begun.set()
        let_go.wait(20)

    @app.job(name="async", retry=False)
    async def coroutine() -> None:
        begun.set()
        await asyncio.sleep(60)

    job = sync.enqueue() if kind == "sync" else coroutine.enqueue()
    try:
        asyncio.run(program(QueueWorker(app), begun.is_set))
    except Over:
        pass
    finally:
        let_go.set()
    found = job.job()
    assert (found.state, found.attempt, found.crashes, found.reason) == (State.QUEUED, 0, 0, "interrupted")
    assert app.workers() == []
    app.close()


def test_a_worker_that_a_cancelled_program_runs_last_fails_what_fails(app: Procession) -> None:
    @app.job(name="bad", retry=False)
    async def bad() -> None:
        raise ValueError

    async def main() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            async with asyncio.timeout(20):
                await QueueWorker(app, burst=True).run()

    async def cancelled() -> None:
        program = asyncio.ensure_future(main())
        await asyncio.sleep(0)
        program.cancel()
        await program

    job = bad.enqueue()
    asyncio.run(cancelled())
    assert job.job().state is State.FAILED
    app.close()


def test_a_cancelled_worker_says_what_came_of_a_job_that_had_ended(app: Procession) -> None:
    @app.job(name="quick")
    async def quick() -> str:
        return "done"

    async def main() -> None:
        worker = QueueWorker(app)
        working = asyncio.ensure_future(worker.run())
        worker._outbox.put = lambda outcomes, put=worker._outbox.put: (put(outcomes), working.cancel())  # type: ignore[method-assign]
        await asyncio.gather(working, return_exceptions=True)

    job = quick.enqueue()
    asyncio.run(main())
    assert job.job().state is State.PROCESSED
    assert app.workers() == []
    app.close()
