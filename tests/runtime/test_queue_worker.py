"""The loop that performs jobs, on memory and on a real server."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from procession import (
    Discard,
    Fail,
    JobHandle,
    Procession,
    Retry,
    RetryLater,
    Snooze,
    State,
    Worker,
    constant,
    current_job,
)
from procession.job import NewJob, new_jid
from procession.runtime import executor, queue_worker
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import taken_back, working

QUICK = Retry(attempts=3, backoff=constant(0.01))


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=0.3)


def ended(app: Procession, enqueue: Callable[[], JobHandle[Any]], **options: Any) -> Any:
    """Perform one job to its end."""

    async def main() -> Any:
        async with working(app, **options):
            return await enqueue().wait_async(15)

    return asyncio.run(main())


def test_functions_and_classes_sync_and_async_are_performed_alike(app: Procession) -> None:
    @app.job(name="sync")
    def sync(a: int) -> int:
        return a + 1

    @app.job(name="coroutine")
    async def coroutine(a: int) -> int:
        return a + 2

    @app.worker(name="A")
    class Sync(Worker):
        def perform(self, a: int) -> int:
            return a + 3

    @app.worker(name="B")
    class Coroutine(Worker):
        async def perform(self, a: int) -> int:
            return a + 4

    async def main() -> list[int]:
        async with working(app):
            handles = [sync.enqueue(0), coroutine.enqueue(0), Sync.enqueue(0), Coroutine.enqueue(0)]
            return [await handle.result_async(15) for handle in handles]

    assert asyncio.run(main()) == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_is_retried_until_the_attempts_are_used_up(app: Procession, kind: str) -> None:
    if kind == "sync":

        @app.job(name="j", retry=QUICK)
        def job() -> None:
            raise ValueError("broken")
    else:

        @app.job(name="j", retry=QUICK)
        async def job() -> None:
            raise ValueError("broken")

    found = ended(app, job.enqueue)
    assert (found.state, found.reason, found.attempt) == (State.FAILED, "exhausted", 3)
    assert [failure.attempt for failure in found.failures] == [1, 2, 3]
    assert found.error == "ValueError: broken"
    assert 'raise ValueError("broken")' in found.failures[0].traceback


def test_a_job_that_recovers_is_processed(app: Procession) -> None:
    tries = []

    @app.job(name="j", retry=QUICK)
    def job() -> str:
        tries.append(current_job().attempt)
        if len(tries) < 3:
            raise ValueError
        return "at last"

    found = ended(app, job.enqueue)
    assert (found.state, tries) == (State.PROCESSED, [1, 2, 3])


@pytest.mark.parametrize(
    ("error", "state", "reason", "attempt"),
    [
        (Discard("gone"), State.CANCELLED, "gone", 1),
        (Fail("give up"), State.FAILED, "give up", 1),
        (KeyError("never"), State.FAILED, "not retryable", 1),
    ],
)
def test_a_job_chooses_its_fate(app: Procession, error: Exception, state: State, reason: str, attempt: int) -> None:
    @app.job(name="j", retry=Retry(attempts=5, never=(KeyError,)))
    async def job() -> None:
        raise error

    found = ended(app, job.enqueue)
    assert (found.state, found.reason, found.attempt) == (state, reason, attempt)


def test_snooze_is_not_charged_and_retry_later_is(app: Procession) -> None:
    runs: list[int] = []

    @app.job(name="j", retry=Retry(attempts=2))
    async def job() -> None:
        runs.append(current_job().attempt)
        if len(runs) <= 2:
            raise Snooze(0.01)
        raise RetryLater(0.01, "busy")

    found = ended(app, job.enqueue)
    assert runs == [1, 1, 1, 2]
    assert (found.state, found.reason) == (State.FAILED, "exhausted")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, TimeoutError])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_a_job_raises_is_one_failed_attempt_and_the_worker_lives(
    app: Procession, error: type[BaseException], kind: str
) -> None:
    if kind == "sync":

        @app.job(name="bad", retry=False)
        def bad() -> None:
            raise error
    else:

        @app.job(name="bad", retry=False)
        async def bad() -> None:
            raise error

    @app.job(name="good")
    async def good() -> int:
        return 1

    async def main() -> None:
        async with working(app):
            found = await bad.enqueue().wait_async(15)
            assert (found.state, found.error) == (State.FAILED, error.__name__)
            assert await good.enqueue().result_async(15) == 1

    asyncio.run(main())


def test_a_timeout_cancels_a_coroutine_and_writes_a_thread_off(app: Procession) -> None:
    release = threading.Event()

    @app.job(name="slow", timeout=0.05, retry=False)
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.job(name="stuck", timeout=0.05, retry=False)
    def stuck() -> bool:
        release.wait(20)
        return current_job().cancelled

    async def main() -> None:
        async with working(app, threads=1) as worker:
            for job in (slow, stuck):
                found = await job.enqueue().wait_async(15)
                assert (found.state, found.failures[0].type) == (State.FAILED, "JobTimeout")
            assert worker._performer.lost == 1
            release.set()

    asyncio.run(main())


def test_a_running_job_is_cancelled_and_its_worker_told(app: Procession) -> None:
    begun = threading.Event()

    @app.job(name="long")
    async def long() -> None:
        begun.set()
        await asyncio.sleep(60)

    async def main() -> Any:
        async with working(app):
            handle = long.enqueue()
            while not begun.is_set():
                await asyncio.sleep(0.005)
            assert await handle.cancel_async("by hand")
            return await handle.wait_async(15)

    found = asyncio.run(main())
    assert (found.state, found.reason) == (State.CANCELLED, "by hand")


def test_an_unknown_name_is_kept_and_shown(app: Procession) -> None:
    stranger = Procession(app.settings.url, namespace=app.settings.namespace)

    @stranger.job(name="elsewhere")
    def elsewhere() -> None: ...

    @app.job(name="here")
    def here() -> None: ...

    async def main() -> Any:
        async with working(app):
            handle = elsewhere.enqueue()
            while (job := handle.job()).state is not State.DELAYED:
                await asyncio.sleep(0.005)
            return job

    found = asyncio.run(main())
    assert found.reason == "no worker knows the name elsewhere"
    assert found.attempt == 0
    stranger.close()


def test_whoever_knows_a_job_is_before_those_that_put_it_back(
    app: Procession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two versions of an app one puts back what it does not know; when that is due again, it looks later."""
    caplog.set_level(logging.INFO, "procession")
    monkeypatch.setattr(executor, "POSTPONED", 300)
    monkeypatch.setattr(queue_worker, "BEHIND", 10.0)
    url, options = app.settings.url, {"namespace": app.settings.namespace, "lease": 120.0}  # no beat looks for them
    former, latter = Procession(url, **options), Procession(url, **options)

    @former.job(name="known")
    def known() -> None: ...

    @latter.job(name="novel")
    def novel() -> None: ...

    async def main() -> None:
        async with working(former):
            await known.using(delay=0.3).enqueue().wait_async(15)  # else the store does not know the script yet
            handles = [novel.enqueue() for _ in range(12)]
            async with asyncio.timeout(20):  # they are put back at once, and not with the next beat
                while any(handle.job().state is not State.DELAYED for handle in handles):
                    await asyncio.sleep(0.005)
            await asyncio.sleep(0.8)  # all of them are due
            assert sum("postpone" in record.message for record in caplog.records) == 12
            async with working(latter):
                for handle in handles:
                    await handle.wait_async(15)

    asyncio.run(main())


def test_arguments_that_no_longer_fit_are_a_clear_failure(app: Procession) -> None:
    old = Procession(app.settings.url, namespace=app.settings.namespace)

    @old.job(name="changed")
    def before(a: int) -> None: ...

    @app.job(name="changed", retry=False)
    def after(b: str) -> None: ...

    async def main() -> Any:
        async with working(app):
            try:
                return await before.enqueue(1).wait_async(15)
            finally:
                await old.close_async()

    found = asyncio.run(main())
    assert found.state is State.FAILED
    assert "no longer fit" in (found.error or "")
    old.close()


def test_a_record_that_cannot_be_decoded_fails_alone_with_its_bytes_kept(app: Procession) -> None:
    @app.job(name="good", queue="q")
    def good() -> int:
        return 1

    bad = NewJob(jid=new_jid(), spec=b"\xff no json", queue="q")

    async def main() -> Any:
        async with working(app):
            await app.ask_async(app.database.enqueue([bad]))
            assert await good.enqueue().result_async(15) == 1
            return await app.handle(bad.jid).wait_async(15)

    found = asyncio.run(main())
    assert (found.state, found.reason, found.raw) == (State.FAILED, "undecodable", b"\xff no json")


def test_a_result_that_cannot_be_kept_fails_that_job(app: Procession) -> None:
    @app.job(name="j")
    def job() -> Any:
        return object()

    found = ended(app, job.enqueue)
    assert (found.state, found.reason) == (State.FAILED, "result cannot be kept")


def test_burst_performs_what_is_ready_and_ends(app: Procession) -> None:
    @app.job(name="j", queue="q")
    async def job(n: int) -> None: ...

    app.enqueue_many(job.bind(n) for n in range(500))

    async def main() -> None:
        await QueueWorker(app, burst=True).run()

    asyncio.run(main())
    stats = app.stats()
    assert (stats.processed, stats.scheduled, stats.running) == (500, 0, 0)
    assert app.workers() == []
    app.close()


def test_burst_performs_what_stands_behind_many_jobs_that_are_gone(app: Procession) -> None:
    @app.job(name="j", queue="q")
    async def job(n: int) -> None: ...

    handles = app.enqueue_many(job.bind(n) for n in range(260))
    for handle in handles[:250]:
        app.cancel(handle.jid)

    async def main() -> None:
        await QueueWorker(app, burst=True).run()

    asyncio.run(main())
    stats = app.stats()
    assert (stats.processed, stats.queued) == (10, 0)
    app.close()


def test_delayed_jobs_start_when_they_are_due_without_polling(app: Procession) -> None:
    starts: list[float] = []

    @app.job(name="j")
    async def job() -> None:
        starts.append(time.monotonic())

    async def main() -> float:
        async with working(app):
            enqueued = time.monotonic()
            await job.using(delay=0.3).enqueue().wait_async(15)
            return starts[0] - enqueued

    assert 0.29 <= asyncio.run(main()) < 2.0


def test_shutdown_lets_jobs_finish_and_gives_the_rest_back_uncharged(app: Procession) -> None:
    begun = []

    @app.job(name="j")
    async def job(seconds: float) -> None:
        begun.append(seconds)
        await asyncio.sleep(seconds)

    async def main() -> tuple[Any, Any]:
        quick, long = job.enqueue(0.1), job.enqueue(60)
        async with working(app):
            while len(begun) < 2:
                await asyncio.sleep(0.005)
        return quick.job(), long.job()

    quick, long = asyncio.run(main())
    assert quick.state is State.PROCESSED
    assert (long.state, long.attempt, long.crashes) == (State.QUEUED, 0, 0)
    assert app.workers() == []
    app.close()


def test_a_run_whose_lease_was_lost_is_stopped_and_writes_nothing(app: Procession) -> None:
    begun, stopped = threading.Event(), threading.Event()

    @app.job(name="j")
    async def job() -> None:
        if begun.is_set():
            return
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def main() -> Any:
        async with working(app) as worker:
            handle = job.enqueue()
            while not begun.is_set():
                await asyncio.sleep(0.005)
            await taken_back(app, worker)
            return await handle.wait_async(15)

    found = asyncio.run(main())
    assert stopped.is_set()
    assert (found.state, found.crashes, found.attempt) == (State.PROCESSED, 1, 2)


def test_threads_never_run_more_than_their_number_at_once(app: Procession) -> None:
    now, most, lock = [0], [0], threading.Lock()

    @app.job(name="j")
    def job(n: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1

    app.enqueue_many(job.bind(n) for n in range(40))

    async def main() -> None:
        await QueueWorker(app, burst=True, threads=3).run()

    asyncio.run(main())
    assert most[0] == 3
    assert app.stats().processed == 40
    app.close()


def test_no_job_waits_for_the_line_that_says_it_started(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    started: list[bool] = []

    def look() -> None:
        started.append(any("started, attempt 1" in record.getMessage() for record in caplog.records))

    @app.job(name="one")
    async def one() -> None:
        look()
        await asyncio.sleep(0)
        look()

    with caplog.at_level(logging.INFO, logger="procession"):
        ended(app, one.enqueue)
    assert started == [False, True]


def test_what_never_began_took_no_time(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.job(name="waits")
    def waits() -> None:
        begun.set()
        go.wait(10)

    @app.job(name="other")
    async def other() -> None: ...

    async def main() -> None:
        waits.enqueue()
        waits.enqueue()
        async with working(app, threads=1) as worker:
            while not begun.is_set() or worker._performer.executing < 2:
                await asyncio.sleep(0.005)
            worker._performer.release_unstarted()
            go.set()

    with caplog.at_level(logging.INFO, logger="procession"):
        asyncio.run(main())
    app.close()
    lines = [record.getMessage() for record in caplog.records if "release" in record.getMessage()]
    assert lines
    assert all(line.endswith(": release (interrupted)") for line in lines)


def test_the_log_has_the_briefs_lines_and_sums_up_floods(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    @app.job(name="one")
    async def one(n: int) -> None: ...

    with caplog.at_level(logging.INFO, logger="procession"):
        ended(app, lambda: one.enqueue(0))
        lines = [record.getMessage() for record in caplog.records]
        assert any("one" in line and "started, attempt 1" in line for line in lines)
        assert any("finished in" in line and line.endswith(" ms") for line in lines)
        caplog.clear()
        app.enqueue_many(one.bind(n) for n in range(400))

        async def main() -> None:
            await QueueWorker(app, burst=True).run()

        asyncio.run(main())
        assert sum("started" in record.getMessage() for record in caplog.records) < 200
    app.close()
