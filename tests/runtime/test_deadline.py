"""The deadline of a whole job: it cuts the attempt that runs, and no other follows."""

from __future__ import annotations

import asyncio

import pytest

from procession import Limit, Procession, Retry, State, constant, current_job
from procession.clock import monotonic
from procession.runtime.active import Active
from procession.runtime.deadlines import Deadlines
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=5.0)


@pytest.mark.parametrize("attempts", [1, 5])
def test_an_attempt_that_reaches_the_deadline_is_stopped_and_no_retry_follows(app: Procession, attempts: int) -> None:
    remaining: list[float] = []

    @app.job(name="loop", retry=Retry(attempts=attempts, backoff=constant(0)), deadline="300ms")
    async def on_the_loop() -> None:
        remaining.append(current_job().remaining or -1)
        await asyncio.sleep(60)

    @app.job(name="thread", retry=Retry(attempts=attempts, backoff=constant(0)), deadline=0.3)
    def in_a_thread() -> None:
        current_job().stopper().wait(20)
        current_job().check_cancelled()

    async def main() -> None:
        async with working(app):
            for handle in (on_the_loop.enqueue(), in_a_thread.enqueue()):
                job = await handle.wait_async(20)
                assert (job.state, job.reason, job.attempt) == (State.FAILED, "deadline", 1)
                assert job.error == "JobTimeout: the deadline of this job passed while it ran"

    asyncio.run(main())
    assert 0 < remaining[0] <= 0.3
    app.flush(confirm=app.settings.namespace)


def test_a_retry_that_would_come_too_late_is_not_waited_for(app: Procession) -> None:
    @app.job(name="j", retry=Retry(attempts=5, backoff=constant(60), jitter=False))
    async def job() -> None:
        raise ValueError("no")

    async def main() -> None:
        async with working(app):
            failed = await job.using(deadline="30s").enqueue().wait_async(20)
            assert (failed.state, failed.reason, failed.error) == (State.FAILED, "deadline", "ValueError: no")

    asyncio.run(main())
    app.flush(confirm=app.settings.namespace)


def test_a_job_whose_deadline_passed_while_it_waited_is_failed_unrun(app: Procession) -> None:
    ran: list[int] = []

    @app.job(name="j", deadline="10ms")
    async def job() -> None:
        ran.append(1)

    async def main() -> None:
        handle = job.using(delay="30ms").enqueue()
        async with working(app):
            failed = await handle.wait_async(20)
            assert (failed.state, failed.reason, ran) == (State.FAILED, "deadline", [])

    asyncio.run(main())
    app.flush(confirm=app.settings.namespace)


def test_a_job_that_is_done_in_time_knows_nothing_of_it(app: Procession) -> None:
    @app.job(name="j", deadline="1h", timeout=None)
    async def job() -> float:
        return current_job().remaining or 0

    async def main() -> None:
        async with working(app):
            assert 3_500 < await job.enqueue().result_async(20) <= 3_600

    asyncio.run(main())
    app.flush(confirm=app.settings.namespace)


def test_a_job_in_a_queue_that_nobody_serves_is_failed_at_its_deadline_by_any_worker(app: Procession) -> None:
    @app.job(name="j", queue="served")
    async def job() -> None: ...

    async def main() -> None:
        handle = job.using(queue="nobody", deadline="50ms").enqueue()
        async with working(app, queues=["served"]):
            failed = await handle.wait_async(20)
        assert (failed.state, failed.reason, failed.attempt) == (State.FAILED, "deadline", 0)

    asyncio.run(main())
    app.flush(confirm=app.settings.namespace)


def test_what_raises_as_one_run_is_told_to_stop_keeps_the_others_from_nothing() -> None:
    told: list[Active] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
        both = asyncio.Event()

        def passed(active: Active) -> None:
            told.append(active)
            if len(told) == 2:
                both.set()
            raise ValueError

        deadlines = Deadlines(passed)
        for _ in range(2):
            deadlines.add(Active(run=None, executor=None, started=monotonic()), 0.01)  # type: ignore[arg-type]
        await asyncio.wait_for(both.wait(), 5)

    raised: list[Exception] = []
    asyncio.run(main())
    assert len(raised) == 2


def test_a_burst_performs_what_gets_the_slot_of_one_that_expired(app: Procession) -> None:
    @app.job(name="j", limit=Limit(1))
    async def job() -> None: ...

    first, second = job.using(expires="1ms").enqueue(), job.enqueue()
    while app.ask(app.database.clock()) < first.job().expires_at:
        pass

    async def main() -> None:
        await QueueWorker(app, burst=True).run()

    asyncio.run(main())
    assert (first.job().reason, second.job().state) == ("expired", State.PROCESSED)
    app.flush(confirm=app.settings.namespace)
    app.close()
