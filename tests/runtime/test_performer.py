"""From claim to outcome inside the worker's own process: what a run learns when it is to stop, and what it costs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from decimal import Decimal, getcontext
from pathlib import Path

import pytest

from procession import Event, JobCancelled, JobTimeout, LeaseLost, Procession, Retry, State, constant, current_job
from procession.job import Crash
from procession.runtime import executor, loop_executor, performer
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.heavy import RAISED
from tests.runtime.working import taken_back, until, working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=5.0)


class Held:
    """A `def` job that runs until it is let go, and says what it was told."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.told: list[str] = []

    def perform(self) -> None:
        self.begun.release()
        self.let_go.wait(20)
        try:
            current_job().check_cancelled()
        except (JobCancelled, JobTimeout, LeaseLost) as error:
            self.told.append(type(error).__name__)
            raise

    async def begins(self) -> None:
        await until(lambda: self.begun.acquire(blocking=False))


def test_a_job_that_cancels_its_own_task_is_one_failed_attempt(app: Procession) -> None:
    @app.job(name="j", retry=False)
    async def job() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def main() -> None:
        async with working(app) as worker:
            found = await job.enqueue().wait_async(15)
            assert (found.state, found.error) == (State.FAILED, "CancelledError")
            await until(lambda: not worker._performer.held())

    asyncio.run(main())


@pytest.mark.parametrize("what", ["group", "awkward", "huge", "deep"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_however_odd_is_one_failed_attempt_and_its_text_is_bounded(
    app: Procession, what: str, kind: str
) -> None:
    if kind == "sync":

        @app.job(name="j", retry=False)
        def job() -> None:
            error = RAISED[what]()
            raise error
    else:

        @app.job(name="j", retry=False)
        async def job() -> None:
            error = RAISED[what]()
            raise error

    async def main() -> None:
        async with working(app) as worker:
            found = await job.enqueue().wait_async(15)
            assert (found.state, found.attempt, len(found.failures)) == (State.FAILED, 1, 1)
            assert len(found.failures[0].traceback) + len(found.failures[0].message) < 64_000
            await until(lambda: not worker._performer.held())

    asyncio.run(main())


def test_context_variables_that_a_job_sets_in_a_thread_are_gone_with_it(app: Procession) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    handlers: list[str] = []

    @app.job(name="j")
    def job() -> tuple[str, str, int]:
        before = tenant.get()
        tenant.set("acme")
        third = str(Decimal(1) / 3)
        getcontext().prec = 3
        return before, third, threading.get_ident()

    @app.on("started")
    async def handler(_: Event) -> None:
        handlers.append(tenant.get())

    async def main() -> None:
        async with working(app, threads=1):
            handles = [job.enqueue() for _ in range(5)]
            found = {await handle.result_async(20) for handle in handles}
            assert len(found) == 1
            assert found.pop()[:2] == ("nobody", f"0.{28 * '3'}")
            await until(lambda: handlers == ["nobody"] * 5)

    asyncio.run(main())


def test_a_thread_learns_whether_it_was_cancelled_ran_too_long_or_lost_its_lease(app: Procession) -> None:
    held = Held()

    @app.job(name="j", retry=False)
    def job() -> None:
        held.perform()

    async def main() -> None:
        async with working(app) as worker:
            long = job.using(timeout=0.1).enqueue()
            assert (await long.wait_async(15)).state is State.FAILED
            cancelled = job.enqueue()
            await held.begins()
            await held.begins()
            assert await cancelled.cancel_async("by hand")
            assert (await cancelled.wait_async(15)).reason == "by hand"
            lost = job.enqueue()
            await held.begins()
            app.pause("default")
            await taken_back(app, worker)
            await until(lambda: worker._performer.lost == 3)
            held.let_go.set()
            await until(lambda: worker._performer.lost == 0)
            assert sorted(held.told) == ["JobCancelled", "JobTimeout", "LeaseLost"]
            found = lost.job()
            assert (found.state, found.attempt, found.crashes) == (State.QUEUED, 1, 1)

    asyncio.run(main())


def test_a_coroutine_sees_why_it_is_cancelled(app: Procession) -> None:
    begun = asyncio.Semaphore(0)
    reasons: list[str | None] = []

    @app.job(name="j", retry=False)
    async def job() -> None:
        begun.release()
        try:
            await asyncio.sleep(60)
        finally:
            reasons.append(current_job().stop_reason)

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            await begun.acquire()
            await handle.cancel_async()
            await handle.wait_async(15)
            await job.using(timeout=0.05).enqueue().wait_async(15)

    asyncio.run(main())
    assert reasons == ["cancelled", "timeout"]


def test_the_time_of_a_job_counts_from_its_beginning_and_not_from_its_claim(app: Procession) -> None:
    held, left = Held(), []

    @app.job(name="first")
    def first() -> None:
        held.perform()

    @app.job(name="second", timeout=60)
    def second() -> None:
        left.append(current_job().remaining)

    @app.job(name="loop")
    async def loop() -> None: ...  # with both kinds served, a `def` job may wait in the worker

    async def main() -> None:
        async with working(app, threads=1) as worker:
            blocking = first.enqueue()
            await held.begins()
            waiting = second.enqueue()
            await until(lambda: worker._performer._threads.waiting)
            await asyncio.sleep(0.5)
            held.let_go.set()
            await blocking.wait_async(15)
            await waiting.wait_async(15)
            assert 59.6 < left[0] <= 60

    asyncio.run(main())


def test_jobs_cancelled_while_no_worker_runs_never_run(app: Procession) -> None:
    ran: list[str] = []

    @app.job(name="j", retry=Retry(attempts=2, backoff=constant(3600), jitter=False))
    async def job(what: str) -> None:
        ran.append(what)
        if what == "retried":
            raise ValueError

    async def main() -> None:
        retried = job.enqueue("retried")
        async with working(app):
            await until(lambda: retried.job().state is State.DELAYED)
        waiting = [job.enqueue("ready"), job.using(delay=0.2).enqueue("delayed"), retried]
        assert [handle.cancel() for handle in waiting] == [True, True, True]
        async with working(app):
            await job.using(delay=0.4).enqueue("last").wait_async(15)
        assert [handle.job().state for handle in waiting] == [State.CANCELLED] * 3

    asyncio.run(main())
    assert ran == ["retried", "last"]
    app.close()


def test_a_cancellation_wins_once_over_a_retry_at_the_same_moment(app: Procession) -> None:
    runs: list[int] = []
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    @app.job(name="j", retry=Retry(attempts=5, backoff=constant(0.0)))
    async def job() -> None:
        runs.append(current_job().attempt)
        begun.release()
        await go.wait()
        raise ValueError

    async def main() -> None:
        async with working(app):
            handles = [job.enqueue() for _ in range(20)]
            for _ in handles:
                await begun.acquire()
            cancelled = [handle.cancel() for handle in handles]  # in the store; the worker has not heard of it
            go.set()
            found = [await handle.wait_async(15) for handle in handles]
            assert cancelled == [True] * 20
            assert {(it.state, it.attempt) for it in found} == {(State.CANCELLED, 1)}
        counts = app.counts()
        assert (counts.cancelled, counts.delayed, counts.queued, counts.running) == (20, 0, 0, 0)

    asyncio.run(main())
    assert runs == [1] * 20
    app.close()


def test_a_worker_without_a_thread_left_asks_to_be_replaced_at_once(
    app: Procession, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()

    @app.job(name="j", retry=False, timeout=0.05)
    def job() -> None:
        held.perform()

    async def main() -> None:
        async with working(app, threads=2) as worker:
            first = job.enqueue()
            await first.wait_async(15)
            assert "should be replaced" not in caplog.text  # one may still come back
            await job.enqueue().wait_async(15)
            await until(lambda: "2 of 2 threads are lost to jobs that do not stop" in caplog.text)
            assert worker._performer.room() == 0
            held.let_go.set()
            await until(lambda: worker._performer.room() == 2)

    with caplog.at_level(logging.INFO, logger="procession"):
        asyncio.run(main())
    assert caplog.text.count("should be replaced") == 1


class Stubborn:
    """An `async def` job that goes on when it is cancelled, until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.begun = 0

    async def perform(self) -> None:
        self.begun += 1
        while not self.let_go.is_set():
            with suppress(asyncio.CancelledError):
                await self.let_go.wait()


@pytest.mark.parametrize(("places", "lost"), [(1, "1 of 1"), (3, "1 of 3")])
def test_a_coroutine_that_does_not_stop_counts_as_lost_until_it_does(
    app: Procession, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, places: int, lost: str
) -> None:
    for module in (performer, loop_executor):
        monkeypatch.setattr(module, "CANCEL_GRACE", 0.1)
    stubborn = Stubborn()

    @app.job(name="j", retry=False, timeout=0.05)
    async def job() -> None:
        await stubborn.perform()

    @app.job(name="next")
    async def following() -> int:
        return 1

    async def main() -> None:
        async with working(app, concurrency=places) as worker:
            found = await job.enqueue().wait_async(20)
            assert (found.state, found.failures[0].type) == (State.FAILED, "JobTimeout")
            assert worker._performer.lost == 1
            await until(lambda: f"{lost} places on the loop are lost to jobs that do not stop" in caplog.text)
            await until(lambda: [it.lost for it in app.workers()] == [1])
            waiting = following.enqueue()
            if places > 1:
                assert await waiting.result_async(20) == 1
            stubborn.let_go.set()
            assert await waiting.result_async(20) == 1
            assert worker._performer.lost == 0

    with caplog.at_level(logging.INFO, logger="procession"):
        asyncio.run(main())
    assert caplog.text.count("should be replaced") == 1


def test_a_coroutine_that_stops_when_its_lease_is_lost_is_no_loss_and_one_that_does_not_is(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_executor, "CANCEL_GRACE", 0.1)
    stubborn, obeys = Stubborn(), asyncio.Event()

    @app.job(name="stubborn", timeout=None)
    async def goes_on() -> None:
        await stubborn.perform()

    @app.job(name="obedient", timeout=None)
    async def stops() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            obeys.set()

    async def main() -> None:
        async with working(app) as worker:
            goes_on.enqueue(), stops.enqueue()
            await until(lambda: len(worker._performer._tasks._tasks) == 2)
            app.pause("default")
            await taken_back(app, worker)
            await until(lambda: obeys.is_set() and worker._performer.lost)
            assert worker._performer.lost == 1
            stubborn.let_go.set()
            await until(lambda: not worker._performer.lost)

    asyncio.run(main())


def test_a_worker_asks_to_be_replaced_when_a_thread_stays_lost_but_not_when_it_returns(
    app: Procession, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performer, "CANCEL_GRACE", 0.2)
    held = Held()

    @app.job(name="returns", retry=False, timeout=0.05)
    def returns() -> None:
        time.sleep(0.1)

    @app.job(name="stays", retry=False, timeout=0.05)
    def stays() -> None:
        held.perform()

    async def main() -> None:
        async with working(app, threads=2) as worker:
            await returns.enqueue().wait_async(15)
            await until(lambda: worker._performer.lost == 0)
            await asyncio.sleep(0.3)
            assert "should be replaced" not in caplog.text
            await stays.enqueue().wait_async(15)
            await until(lambda: "1 of 2 threads are lost" in caplog.text)
            held.let_go.set()
            await until(lambda: worker._performer.lost == 0)

    with caplog.at_level(logging.INFO, logger="procession"):
        asyncio.run(main())


def test_a_job_on_its_last_life_runs_where_it_always_does_if_its_app_cannot_be_imported(
    app: Procession, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.py").write_text("raise RuntimeError('not twice')")
    monkeypatch.syspath_prepend(str(tmp_path))

    @app.job(name="j")
    async def job() -> int:
        return current_job().attempt

    async def main() -> int:
        handle = job.enqueue()
        for dead in ("one", "two"):
            await app.ask_async(app.database.claim(["default"], dead, b"t" * 16, limit=1, lease=60_000))
            await app.ask_async(app.database.leave(dead, crash=Crash(how="signal 9 (SIGKILL)")))
        async with working(app, target="elsewhere:app"):
            return await handle.result_async(15)

    assert asyncio.run(main()) == 3
    assert "cannot have a process of its own: a job process cannot begin: RuntimeError: not twice" in caplog.text


def test_an_error_knows_when_it_was_by_the_clock_of_the_store(app: Procession) -> None:
    @app.job(name="j", retry=False)
    def job() -> None:
        time.sleep(0.3)
        raise ValueError

    async def main() -> None:
        async with working(app):
            found = await job.enqueue().wait_async(15)
            (failure,) = found.failures
            assert found.start_at + 300 - 2 <= failure.at <= found.finish_at + 2

    asyncio.run(main())


def test_a_worker_says_since_when_it_is_there(app: Procession) -> None:
    @app.job(name="j")
    async def job() -> None: ...

    async def main() -> None:
        before = await app.ask_async(app.database.clock())
        async with working(app):
            await until(app.workers)
            first = app.workers()[0]
            await until(lambda: app.workers()[0].beat_at > first.beat_at)
            again = app.workers()[0]
            assert before - 2 <= first.started_at <= first.beat_at
            assert abs(again.started_at - first.started_at) < 100

    asyncio.run(main())


def test_a_job_for_which_no_thread_can_be_started_waits_and_no_other_is_harmed(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "procession-1":
            raise RuntimeError("can't start new thread")
        start(thread)

    @app.job(name="sync")
    def sync() -> None: ...

    @app.job(name="coroutine")
    async def coroutine() -> int:
        return 1

    async def main() -> None:
        async with working(app):
            waits = sync.enqueue()
            await until(lambda: waits.job().state is State.DELAYED)
            assert await coroutine.enqueue().result_async(15) == 1
            job = waits.job()
            assert (job.reason, job.attempt) == ("a thread could not be started: can't start new thread", 0)
            monkeypatch.undo()
            assert (await waits.wait_async(15)).state is State.PROCESSED

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(executor, "POSTPONED", 1_000)
    asyncio.run(main())


def test_a_burst_ends_when_jobs_that_do_not_stop_have_every_place(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_executor, "CANCEL_GRACE", 0.1)
    let_go = asyncio.Event()

    @app.job(name="stubborn", timeout=0.1, retry=False)
    async def stubborn() -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    async def main() -> None:
        jobs = [stubborn.enqueue() for _ in range(2)]
        async with asyncio.timeout(15):
            await QueueWorker(app, concurrency=1, burst=True).run()
        assert [it.job().state for it in jobs] == [State.FAILED, State.QUEUED]
        let_go.set()
        await app.close_async()
        app.close()

    asyncio.run(main())
