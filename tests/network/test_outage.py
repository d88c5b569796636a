"""A queue worker while the store is away, comes back, comes back empty, or is shaken: it waits, says so once, and
goes on."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import socket
import time
from collections import Counter
from typing import Any

import pytest

from procession import Procession
from procession.runtime.queue_worker import QueueWorker
from tests.network.servers import Server, serving, several
from tests.network.test_refusals import soon

pytestmark = pytest.mark.xdist_group("network-outage")


def working(url: str, namespace: str, **settings: Any) -> tuple[Procession, Any, Counter[int]]:
    app = Procession(url, namespace=namespace, **{"lease": 5.0, "heartbeat": 0.5, "budget": 0.5, **settings})
    runs: Counter[int] = Counter()

    @app.job(name="work", queue="q")
    async def work(n: int, seconds: float = 0.0) -> int:
        runs[n] += 1
        await asyncio.sleep(seconds)
        return n

    return app, work, runs


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


async def processed(app: Procession, count: int) -> None:
    async with asyncio.timeout(30):
        while (await app.stats_async()).processed < count:
            await asyncio.sleep(0.05)


def test_a_worker_that_starts_before_its_store_waits_quietly_and_resolves_the_name_anew(
    namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    random.seed(1)  # the pauses are drawn: by chance alone one play in 230 has more than eight tries
    real, moved_to, tries = socket.getaddrinfo, [], []

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host == "store.invalid" and not kwargs.get("flags"):
            tries.append(time.monotonic())
            if not moved_to:
                raise socket.gaierror("name or service not known")
            host, port = "127.0.0.1", moved_to[-1]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with serving() as server:
        app, work, _ = working("redis://store.invalid:6379", namespace)
        direct, here, _ = working(server.url, namespace)
        here.enqueue(1)

        async def main() -> None:
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            await asyncio.sleep(1.0)  # whatever a start costs is over
            spent, tried = [time.process_time()], len(tries)
            for _ in range(5):
                await asyncio.sleep(3.0 / 5)
                spent.append(time.process_time())
            assert 1 <= len(tries) - tried <= 8  # as often as the pause between tries lets it, about once a second
            calm = sorted(after - before for before, after in itertools.pairwise(spent))[:3]
            assert sum(calm) < (0.01 * 3.0 + 0.02) * 3 / 5  # what else the machine does makes some of them dearer
            assert said(caplog, "no answer from the store") == 1
            moved_to.append(server.port)
            await processed(app, 1)
            assert said(caplog, "the store is back") == 1
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert work is not None
        direct.close()


def test_jobs_run_through_a_restart_of_the_store_once_and_two_lines_tell_of_it(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving("--appendonly", "yes", "--appendfsync", "always") as server:
        app, work, runs = working(server.url, namespace)

        async def main() -> None:
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            await asyncio.gather(*(work.enqueue_async(n, 1.0) for n in range(20)))
            await soon(lambda: sum(runs.values()) == 20)
            server.kill()
            await asyncio.sleep(1.5)  # every job ends while there is no store
            await asyncio.to_thread(server.start)
            await processed(app, 20)
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert set(runs.values()) == {1}
        assert (said(caplog, "running jobs go on"), said(caplog, "the store is back")) == (1, 1)
        app.close()


def test_a_store_that_comes_back_empty_is_worked_with_and_the_old_outcomes_are_told_to_be_void(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as server:  # nothing on disk
        app, work, runs = working(server.url, namespace)

        async def main() -> None:
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            await asyncio.gather(*(work.enqueue_async(n, 0.5) for n in range(5)))
            await soon(lambda: sum(runs.values()) == 5)
            server.kill()
            await asyncio.to_thread(server.start)
            await soon(lambda: said(caplog, "the lease was lost") >= 5)
            assert await (await work.enqueue_async(9)).result_async(timeout=20) == 9
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert (app.stats().processed, app.stats().running) == (1, 0)
        app.close()


def test_kills_flushes_and_a_store_that_sleeps_never_reach_a_job(namespace: str) -> None:
    with serving() as server:
        app, work, runs = working(server.url, namespace, budget=2.0)

        def shake() -> None:
            with server.client() as client:
                for n in range(20):
                    client.client_kill_filter(_type="normal", skipme=True)
                    client.script_flush()
                    if n % 10 == 5:
                        client.execute_command("DEBUG", "SLEEP", "0.3")
                    time.sleep(0.04)

        async def main() -> None:
            worker = QueueWorker(app)
            await asyncio.to_thread(app.enqueue_many, [work.bind(n, 0.01) for n in range(1_500)])
            running = asyncio.ensure_future(worker.run())
            await asyncio.to_thread(shake)
            await processed(app, 1_500)
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert (len(runs), set(runs.values()), app.stats().failed) == (1_500, {1}, 0)
        app.close()


def test_what_waits_to_be_settled_never_outgrows_the_places_of_its_worker(namespace: str) -> None:
    with serving("--appendonly", "yes", "--appendfsync", "always") as server:
        app, work, runs = working(server.url, namespace, concurrency=5)

        async def main() -> None:
            await asyncio.to_thread(app.enqueue_many, [work.bind(n, 0.2) for n in range(50)])
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            await soon(lambda: len(runs) >= 10)
            server.kill()
            await asyncio.sleep(0.5)
            begun = sum(runs.values())
            await asyncio.sleep(0.5)
            assert sum(runs.values()) == begun
            assert len(worker._outbox) <= 5
            await asyncio.to_thread(server.start)
            await processed(app, 50)
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert set(runs.values()) == {1}
        app.close()


def test_a_failover_that_is_asked_for_is_a_short_wait(namespace: str) -> None:
    primary = Server()
    replica = Server("--replicaof", f"127.0.0.1 {primary.port}")
    with several([primary, replica]):
        primary.start()
        replica.start()
        both = f"redis://127.0.0.1:{primary.port},127.0.0.1:{replica.port}/"
        app, work, runs = working(both, namespace, budget=2.0)

        async def main() -> None:
            worker = QueueWorker(app)
            await asyncio.to_thread(app.enqueue_many, [work.bind(n, 0.01) for n in range(500)])
            with primary.client() as client:
                client.wait(1, 5_000)
                running = asyncio.ensure_future(worker.run())
                await soon(lambda: len(runs) > 50)
                await asyncio.to_thread(client.execute_command, "FAILOVER", "TO", "127.0.0.1", replica.port)
            await processed(app, 500)
            with replica.client() as client:
                assert client.execute_command("ROLE")[0] == b"master"
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert set(runs.values()) == {1}
        app.close()
