"""A network on a bad day, a real server behind the proxy: nothing is lost, nothing is settled twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from procession import EnqueueError, Procession, State
from procession.runtime.queue_worker import QueueWorker
from tests.chaos.proxy import Proxy, proxied


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[Proxy]:
    with proxied(valkey_url) as proxy:
        yield proxy


def shop(url: str, namespace: str, runs: Counter[int], **settings: Any) -> tuple[Procession, Any]:
    app = Procession(url, namespace=namespace, **{"lease": 2.0, "heartbeat": 0.3, "budget": 0.5, **settings})

    @app.job(name="note", queue="q")
    async def note(n: int, seconds: float = 0.0) -> int:
        runs[n] += 1
        await asyncio.sleep(seconds)
        return n

    return app, note


async def settled(app: Procession, count: int, seconds: float = 30) -> None:
    """Wait until `count` jobs are processed."""
    deadline = time.monotonic() + seconds
    while (await app.stats_async()).processed < count:
        assert time.monotonic() < deadline, await app.stats_async()
        await asyncio.sleep(0.05)


async def perform(app: Procession, direct: Procession, count: int, nemesis: Any) -> None:
    """Run a worker through the proxy while `nemesis` does its worst; end with a full drain."""
    worker = QueueWorker(app)
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(0)
    await nemesis()
    await settled(direct, count)
    worker.stop()
    await running
    await direct.close_async()
    await app.close_async()


def check(direct: Procession, runs: Counter[int], count: int, most_runs: int) -> None:
    """The total-queue check after the drain: no job lost, none unheard of, none settled twice."""
    stats = direct.stats()
    assert (stats.processed, stats.scheduled, stats.running, stats.failed) == (count, 0, 0, 0)
    assert set(runs) == set(range(count))
    assert max(runs.values()) <= most_runs
    direct.flush(confirm=direct.settings.namespace)
    direct.close()


def test_replies_that_get_lost_make_no_job_run_twice(proxy: Proxy, valkey_url: str, namespace: str) -> None:
    runs: Counter[int] = Counter()
    app, _ = shop(proxy.url, namespace, runs)
    direct, note = shop(valkey_url, namespace, Counter())
    direct.enqueue_many(note.bind(n) for n in range(600))

    async def nemesis() -> None:
        proxy.drop_every = 4
        await asyncio.sleep(1.5)
        proxy.drop_every = 0

    asyncio.run(perform(app, direct, 600, nemesis))
    check(direct, runs, 600, most_runs=1)


def test_a_silent_connection_is_given_up_and_work_goes_on_when_it_heals(
    proxy: Proxy, valkey_url: str, namespace: str
) -> None:
    runs: Counter[int] = Counter()
    app, _ = shop(proxy.url, namespace, runs)
    direct, note = shop(valkey_url, namespace, Counter())

    async def nemesis() -> None:
        await asyncio.sleep(0.3)
        proxy.swallow(True)
        await asyncio.sleep(0.2)
        await direct.enqueue_many_async(note.bind(n) for n in range(20))
        await asyncio.sleep(1.5)
        assert (await direct.stats_async()).processed == 0
        proxy.swallow(False)
        healed = time.monotonic()
        await settled(direct, 20)
        assert time.monotonic() - healed < 5 + 2 + 1

    asyncio.run(perform(app, direct, 20, nemesis))
    check(direct, runs, 20, most_runs=1)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_connection_that_loses_one_direction_settles_nothing_twice(
    proxy: Proxy, valkey_url: str, namespace: str, way: str
) -> None:
    runs: Counter[int] = Counter()
    app, _ = shop(proxy.url, namespace, runs, lease=30.0, heartbeat=1.0)
    direct, note = shop(valkey_url, namespace, Counter())
    direct.enqueue_many(note.bind(n, 0.01) for n in range(400))

    async def nemesis() -> None:
        for _ in range(3):
            await asyncio.sleep(0.1)
            setattr(proxy, f"silent_{way}", True)
            await asyncio.sleep(0.7)
            setattr(proxy, f"silent_{way}", False)

    asyncio.run(perform(app, direct, 400, nemesis))
    check(direct, runs, 400, most_runs=1)


def test_resets_and_script_flushes_under_load_are_never_seen_by_a_job(
    proxy: Proxy, valkey_url: str, namespace: str
) -> None:
    from redis import Redis

    runs: Counter[int] = Counter()
    app, _ = shop(proxy.url, namespace, runs)
    direct, note = shop(valkey_url, namespace, Counter())
    direct.enqueue_many(note.bind(n, 0.005) for n in range(2_000))

    async def nemesis() -> None:
        with Redis.from_url(valkey_url) as server:
            for _ in range(15):
                proxy.reset()
                server.script_flush()
                await asyncio.sleep(0.08)

    asyncio.run(perform(app, direct, 2_000, nemesis))
    check(direct, runs, 2_000, most_runs=1)


def test_running_jobs_go_on_through_an_outage_longer_than_the_lease_and_run_once(
    proxy: Proxy, valkey_url: str, namespace: str
) -> None:
    runs: Counter[int] = Counter()
    app, _ = shop(proxy.url, namespace, runs, lease=1.0, heartbeat=0.2)
    direct, note = shop(valkey_url, namespace, Counter())
    direct.enqueue_many(note.bind(n, 1.0) for n in range(20))

    async def nemesis() -> None:
        while sum(runs.values()) < 20:
            await asyncio.sleep(0.01)
        proxy.swallow(True)
        await asyncio.sleep(3.0)
        proxy.swallow(False)

    asyncio.run(perform(app, direct, 20, nemesis))
    check(direct, runs, 20, most_runs=1)


def test_a_slow_network_only_slows(proxy: Proxy, valkey_url: str, namespace: str) -> None:
    runs: Counter[int] = Counter()
    app, _ = shop(proxy.url, namespace, runs, budget=5.0)
    direct, note = shop(valkey_url, namespace, Counter())
    direct.enqueue_many(note.bind(n) for n in range(1_000))

    async def nemesis() -> None:
        proxy.delay = 0.05

    asyncio.run(perform(app, direct, 1_000, nemesis))
    check(direct, runs, 1_000, most_runs=1)


def test_a_producer_whose_replies_get_lost_repeats_its_jid_and_makes_one_job(
    proxy: Proxy, valkey_url: str, namespace: str
) -> None:
    app, note = shop(proxy.url, namespace, Counter())
    direct, _ = shop(valkey_url, namespace, Counter())
    assert app.stats().scheduled == 0
    proxy.drop_every = 7
    unknown = 0
    for n in range(60):
        jid = None
        for _ in range(20):
            try:
                (note if jid is None else note.using(jid=jid)).enqueue(n)
                break
            except EnqueueError as error:
                unknown += error.stored == "unknown"
                jid = error.jids[0]
        else:
            pytest.fail("not enqueued in 20 tries")
    proxy.drop_every = 0
    assert unknown > 0
    jobs = direct.jobs(State.QUEUED, limit=1_000).jobs
    assert sorted(job.args["n"] for job in jobs) == list(range(60))
    direct.flush(confirm=namespace)
    direct.close()
    app.close()
