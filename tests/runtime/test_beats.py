"""An idle worker beats in time, and hears every bell."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import uvloop
from redis import Redis

from procession import Procession, State
from procession.database.redis.keys import tag
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import Between, put_between, until, working


def test_no_beat_waits_for_the_next_bell(valkey_url: str, namespace: str) -> None:
    # A lone worker that misses one looks back at more than half a lease, and takes nothing back for one lease more.
    app = Procession(valkey_url, namespace=namespace, lease=2.0, heartbeat=0.2)

    @app.job(name="never", queue="q")
    async def never() -> None: ...

    seen: list[int] = []
    stood_still: list[float] = []
    """Milliseconds of each gap in which the machine had no time for this loop."""

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        with Redis.from_url(valkey_url) as server:
            still = 0.0
            while len(seen) < 40:
                began = time.monotonic()
                await asyncio.sleep(0.02)
                at = int(server.hget(f"{tag(namespace)}:meta", "recovered_at") or 0)
                late = time.monotonic() - began - 0.02
                still += late * 1_000 if late > 0.1 else 0.0
                if at and at not in seen[-1:]:
                    seen.append(at)
                    stood_still.append(still)
                    still = 0.0
        worker.stop()
        await running
        await app.close_async()

    uvloop.run(main())
    gaps = [after - before for before, after in itertools.pairwise(seen)]
    ours = [gap - still for gap, still in zip(gaps, stood_still[1:], strict=True)]
    assert max(ours) < 900, (gaps, stood_still)


def test_a_delayed_job_waits_for_no_bell_either(valkey_url: str, namespace: str) -> None:
    # A timer that rings a moment early, as uvloop's do, finds nothing due. What wakes the worker then is the end of its
    # wait for bells, which the server looks at ten times a second.
    app = Procession(valkey_url, namespace=namespace, lease=600)
    late: list[float] = []

    @app.job(name="stamp", queue="q")
    async def stamp(due: float) -> None:
        late.append(time.time() - due)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        exact = loop.call_later
        loop.call_later = lambda delay, *call, **more: exact(max(delay - 0.005, 0), *call, **more)  # type: ignore[method-assign]
        async with working(app):
            now = time.time()
            for after in (0.3 + 0.04 * number for number in range(40)):
                await stamp.using(at=datetime.fromtimestamp(now + after, UTC)).enqueue_async(now + after)
            await until(lambda: len(late) == 40)

    asyncio.run(main())
    assert sum(it < 0.025 for it in late) >= 20, late  # a quarter by the looks alone, so many by chance in 0.06 %


def test_a_worker_under_a_name_that_left_says_what_is_wrong(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace)
    app.ask(app.database.leave("w"))

    async def main() -> None:
        async with working(app, queues=["q"], worker_id="w"):
            await until(lambda: "give each start a name of its own" in caplog.text)

    asyncio.run(main())


def test_a_full_worker_hears_a_cancellation_at_once(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace, lease=120.0, heartbeat=60.0)

    @app.job(name="long", queue="q")
    async def long(n: int) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        handles = [await long.enqueue_async(n) for n in range(4)]
        async with working(app, concurrency=2):
            for first, second in itertools.pairwise(handles):  # full all the time, until nothing waits any more
                await until(lambda it=first: it.job().state is State.RUNNING)
                await asyncio.sleep(0.3)
                began = time.monotonic()
                await first.cancel_async()
                await first.wait_async(15)
                assert time.monotonic() - began < 2.0
                await until(lambda it=second: it.job().state is State.RUNNING)
            await handles[-1].cancel_async()
            await handles[-1].wait_async(15)

    asyncio.run(main())


def test_a_worker_that_was_full_hears_what_comes_after(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace, lease=120.0, heartbeat=60.0)
    done = asyncio.Event()

    @app.job(name="wait", queue="q")
    async def wait() -> None:
        await done.wait()

    async def main() -> None:
        handles = [await wait.enqueue_async() for _ in range(2)]
        async with working(app, concurrency=1) as worker:
            await until(lambda: worker._listener.at_own_bell)
            done.set()
            for handle in handles:
                await handle.wait_async(15)
            began = time.monotonic()
            await (await wait.enqueue_async()).wait_async(15)
            assert time.monotonic() - began < 1.0

    asyncio.run(main())


def test_a_bell_that_rings_while_a_claim_is_answered_is_heard(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace, lease=60.0, heartbeat=30.0)
    busy, answered, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.job(name="nap", queue="q")
    async def nap(seconds: float) -> None:
        if seconds:
            busy.set()
        await asyncio.sleep(seconds)

    class LateAnswers(Between):
        """Hands on the answer to the first claim that found a job when the test says so."""

        async def ask(self, *operations: Any, **options: Any) -> Any:
            answer = await self._connection.ask(*operations, **options)
            claims = answer if len(operations) == 1 else answer[-1]
            if getattr(claims, "jobs", None) and busy.is_set() and not answered.is_set():
                answered.set()
                await go_on.wait()
            return answer

    put_between(app, LateAnswers)

    async def main() -> float:
        async with working(app), asyncio.timeout(30):
            before = await nap.enqueue_async(20.0)
            await busy.wait()  # who performs something claims in turns
            first = await nap.enqueue_async(20.0)
            await answered.wait()
            second = await nap.enqueue_async(0.0)
            await asyncio.sleep(0.1)  # the worker has read its bell, or waits for the end of the turn
            began = time.monotonic()
            go_on.set()
            await second.wait_async(15)
            waited = time.monotonic() - began
            for handle in (before, first):
                await handle.cancel_async()
            return waited

    assert asyncio.run(main()) < 2.0


def test_a_ring_that_is_on_its_way_as_the_worker_stops_is_heard_all_the_same(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace, lease=120.0, heartbeat=60.0)
    rang = asyncio.Event()

    @app.job(name="long", queue="q")
    async def long() -> None:
        await asyncio.sleep(60)

    class SlowBells(Between):
        """Hears its own bell and hands on no ring of it."""

        async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
            bell: str | None = await self._connection.wait(bells, timeout)
            if bell == bells[-1] and not rang.is_set():
                rang.set()
                await asyncio.Event().wait()
            return bell

    put_between(app, SlowBells)

    async def main() -> float:
        async with working(app) as worker:
            handle = await long.enqueue_async()
            await until(lambda: handle.job().state is State.RUNNING)
            await asyncio.sleep(0.3)  # no claim is under way any more, which would hear the bell as well
            await handle.cancel_async()
            await asyncio.wait_for(rang.wait(), 15)
            began = time.monotonic()
            worker.stop()
            await handle.wait_async(15)
            return time.monotonic() - began

    assert asyncio.run(main()) < 2.0
