"""`async def` jobs follow each other in one task until one waits, and none can tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from procession import Procession
from procession.enqueuer import Call
from procession.job import Job
from procession.runtime.loop_executor import TURN
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import until, working

Leave = Callable[["asyncio.Task[Any]"], Any]


def performed(app: Procession, calls: list[Call[Any]], seconds: float = 20) -> list[Job]:
    """What becomes of these jobs, all waiting when the worker comes."""
    handles = app.enqueue_many(calls)

    async def main() -> list[Job]:
        async with working(app, queues=["q"]):
            return [await handle.wait_async(seconds) for handle in handles]

    return asyncio.run(main())


def current() -> asyncio.Task[Any]:
    """The task that runs."""
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.fixture
def app(namespace: str) -> Procession:
    return Procession(f"memory://{namespace}", namespace=namespace)


def test_jobs_that_never_wait_share_a_task_and_what_waits_keeps_its_own(app: Procession) -> None:
    names: list[str] = []
    numbers: list[int] = []
    all_begun = asyncio.Event()

    @app.job(name="swift", queue="q")
    async def swift() -> None:
        names.append(current().get_name())
        numbers.append(id(current()))
        if len(names) == 4:
            all_begun.set()

    @app.job(name="slow", queue="q")
    async def slow() -> None:
        names.append(current().get_name())
        mine = current()
        await all_begun.wait()
        assert current() is mine
        assert mine.get_name() == "slow"

    jobs = performed(app, [swift.bind(), swift.bind(), slow.bind(), swift.bind()])
    assert {job.state for job in jobs} == {"processed"}
    assert names == ["swift", "swift", "slow", "swift"]
    assert numbers[0] == numbers[1]


def test_jobs_that_wait_run_at_the_same_time(app: Procession) -> None:
    everybody = asyncio.Barrier(30)

    @app.job(name="meets", queue="q")
    async def meets() -> None:
        await everybody.wait()

    jobs = performed(app, [meets.bind() for _ in range(30)], seconds=2)
    assert {job.state for job in jobs} == {"processed"}


LEFT: dict[str, Leave] = {
    "a reference": lambda task: KEPT.append(task),
    "a weak one that is told": lambda task: WEAK.update({task: 1}),
    "a callback": lambda task: task.add_done_callback(lambda _: TOLD.append(1)),
    "a request to cancel": lambda task: task.cancel(),
    "a request that was taken back": lambda task: (task.cancel(), task.uncancel()),
}
KEPT: list[Any] = []
TOLD: list[int] = []
WEAK: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


@pytest.mark.parametrize("left", LEFT)
def test_a_task_in_which_a_job_left_anything_performs_no_other(app: Procession, left: str) -> None:
    KEPT.clear()
    TOLD.clear()
    tainted: list[str] = []

    @app.job(name="leaves", queue="q")
    async def leaves() -> None:
        LEFT[left](current())
        current().set_name("tainted")

    @app.job(name="follows", queue="q")
    async def follows() -> None:
        tainted.extend(it.get_name() for it in asyncio.all_tasks() if it.get_name() == "tainted")
        assert current() not in KEPT
        assert current() not in WEAK
        assert not current().cancelling()
        await asyncio.sleep(0)
        if left == "a callback":
            assert TOLD == [1]

    for job in performed(app, [leaves.bind(), follows.bind()]):
        assert (job.state, job.attempt) == ("processed", 1), job.error
    assert not tainted


def test_each_job_has_a_context_of_its_own(app: Procession) -> None:
    who: ContextVar[int] = ContextVar("who", default=0)
    seen: list[tuple[int, int]] = []

    @app.job(name="sets", queue="q")
    async def sets(n: int) -> None:
        before = who.get()
        token = who.set(n)
        if n % 2:
            await asyncio.sleep(0.001 * n)
        seen.append((before, who.get()))
        if n % 3 == 0:
            who.reset(token)

    jobs = performed(app, [sets.bind(n) for n in range(1, 9)])
    assert {job.state for job in jobs} == {"processed"}
    assert sorted(seen) == [(0, n) for n in range(1, 9)]


def test_timeouts_and_groups_within_jobs_concern_nobody_else(app: Procession) -> None:
    @app.job(name="mixed", queue="q")
    async def mixed(n: int) -> int:
        match n % 4:
            case 0:
                async with asyncio.timeout(0.005):  # noqa: ASYNC100  # it never waits
                    return n
            case 1:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.002):
                        await asyncio.sleep(5)
            case 2:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0.002))
            case _:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await asyncio.sleep(5)
        return n

    handles = app.enqueue_many([mixed.bind(n) for n in range(80)])

    async def main() -> None:
        async with working(app, queues=["q"], concurrency=10):
            assert [await handle.result_async(20) for handle in handles] == list(range(80))

    asyncio.run(main())


def test_the_loop_turns_while_jobs_follow_each_other(app: Procession) -> None:
    turns: list[float] = []
    begun: list[float] = []

    @app.job(name="blocks", queue="q")
    async def blocks() -> None:
        begun.append(time.monotonic())
        time.sleep(TURN)  # noqa: ASYNC251  # that is the point

    handles = app.enqueue_many([blocks.bind() for _ in range(20)])

    async def main() -> None:
        def tick() -> None:
            turns.append(time.monotonic())
            asyncio.get_running_loop().call_soon(tick)

        async with working(app, queues=["q"]):
            asyncio.get_running_loop().call_soon(tick)
            for handle in handles:
                await handle.wait_async(20)

    asyncio.run(main())
    between = [sum(a < turn < b for turn in turns) for a, b in pairwise(begun)]
    assert min(between) >= 1, between


def test_a_job_that_blocks_at_first_and_then_waits_has_used_up_its_time(app: Procession) -> None:
    @app.job(name="late", queue="q", timeout=0.05, retry=False)
    async def late() -> None:
        time.sleep(0.06)  # noqa: ASYNC251
        await asyncio.sleep(20)

    (job,) = performed(app, [late.bind()], seconds=10)
    assert "ran longer than its timeout" in str(job.error)


def test_a_worker_names_the_job_that_holds_up_its_loop_though_it_never_waited(app: Procession) -> None:
    said: list[str] = []
    workers: list[QueueWorker] = []

    @app.job(name="holds_up", queue="q")
    async def holds_up() -> None:
        said.append(workers[0]._performer.running_in(current()))

    handles = app.enqueue_many([holds_up.bind(), holds_up.bind()])

    async def main() -> None:
        async with working(app, queues=["q"]) as worker:
            workers.append(worker)
            await until(lambda: len(said) == 2)
            assert worker._performer.running_in(current()) == "no job"

    asyncio.run(main())
    assert said == [f"job holds_up {handle.jid}" for handle in handles]


def test_the_place_of_a_run_that_was_dropped_is_taken_as_soon_as_it_ends(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace, heartbeat=60.0, lease=300.0)
    ends = asyncio.Event()

    @app.job(name="tidies_up")
    async def tidies_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await ends.wait()

    @app.job(name="next")
    async def following() -> None: ...

    async def main() -> None:
        async with working(app, concurrency=1, target="") as worker:
            dropped = tidies_up.enqueue()
            await until(lambda: worker._performer._tasks.running)
            waits = following.enqueue()
            worker._performer.drop(dropped.jid)
            await until(lambda: not worker._wake.is_set() and not worker._turning.locked())  # a turn found it taken
            ends.set()
            await waits.wait_async(10)

    asyncio.run(main())
