"""The server dies or fills up under load: what it acknowledged is done, and nothing needs a restart by hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from procession import EnqueueError, Refused
from procession.runtime.queue_worker import QueueWorker
from tests.chaos.machine import APPENDED, Machine
from tests.chaos.test_network import settled, shop


@contextlib.contextmanager
def machine(*options: str) -> Iterator[Machine]:
    it = Machine(options)
    it.start()
    try:
        yield it
    finally:
        it.close()


def test_a_killed_server_with_its_append_only_file_loses_nothing(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs: Counter[int] = Counter()
    with machine(*APPENDED) as server:
        app, note = shop(server.url, namespace, runs)
        unknown: set[int] = set()

        async def produce(count: int) -> None:
            for n in range(count):
                jid: Any = None
                while True:
                    try:
                        await (note if jid is None else note.using(jid=jid)).enqueue_async(n, 0.005)
                        break
                    except EnqueueError as error:
                        jid = error.jids[0]
                        unknown.add(n)
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.002)

        async def main() -> None:
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            producing = asyncio.ensure_future(produce(600))
            for _ in range(3):
                await asyncio.sleep(0.4)
                server.kill()
                await asyncio.sleep(0.3)
                await asyncio.get_running_loop().run_in_executor(None, server.start)
            await producing
            await settled(app, 600)
            worker.stop()
            await running
            await app.close_async()

        with caplog.at_level(logging.WARNING, logger="procession"):
            asyncio.run(main())
        stats = app.stats()
        app.close()
        assert (stats.processed, stats.scheduled, stats.running) == (600, 0, 0)
        assert set(runs) == set(range(600))
        assert sum(runs.values()) == 600, "a job ran twice, though its worker and the store's file lived"
        lost = [record for record in caplog.records if "running jobs go on" in record.getMessage()]
        back = [record for record in caplog.records if "the store is back" in record.getMessage()]
        assert len(lost) == len(back) <= 3


def test_a_full_store_refuses_new_work_and_still_drains(namespace: str) -> None:
    runs: Counter[int] = Counter()
    with machine("--maxmemory", "6mb", "--maxmemory-policy", "noeviction") as server:
        app, note = shop(server.url, namespace, runs, keep_processed="10")

        @app.job(name="fat", queue="q")
        async def fat(text: str) -> str:
            return text

        count = 0

        def fill() -> None:
            nonlocal count
            while True:
                fat.enqueue("x" * 20_000)
                count += 1

        with pytest.raises(Refused) as refusal:
            fill()
        assert refusal.value.stored == "no"
        assert count > 20

        async def main() -> None:
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            await settled(app, count)
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        note.enqueue(1)
        assert app.stats().processed == count
        app.close()


def test_a_worker_waits_for_a_store_that_is_not_there_yet(namespace: str) -> None:
    runs: Counter[int] = Counter()
    server = Machine(())
    app, note = shop(server.url, namespace, runs)

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        began = time.process_time()
        await asyncio.sleep(2.0)
        assert time.process_time() - began < 0.5
        await asyncio.get_running_loop().run_in_executor(None, server.start)
        await note.enqueue_async(0)
        await settled(app, 1)
        worker.stop()
        await running
        await app.close_async()

    asyncio.run(main())
    app.close()
    server.close()


def test_a_server_without_persistence_comes_back_empty_and_the_worker_lives(namespace: str) -> None:
    runs: Counter[int] = Counter()
    with machine() as server:
        app, note = shop(server.url, namespace, runs)

        async def main() -> None:
            worker = QueueWorker(app)
            running = asyncio.ensure_future(worker.run())
            await note.enqueue_async(0, 0.3)
            await asyncio.sleep(0.15)
            server.kill()
            await asyncio.get_running_loop().run_in_executor(None, server.start)
            await note.enqueue_async(1)
            await settled(app, 1)
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert runs == {0: 1, 1: 1}
        app.close()


def test_clients_killed_by_the_server_are_replaced(valkey_url: str, namespace: str) -> None:
    runs: Counter[int] = Counter()
    app, note = shop(valkey_url, namespace, runs)
    app.enqueue_many(note.bind(n, 0.003) for n in range(1_500))

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        with Redis.from_url(valkey_url) as server:
            for _ in range(12):
                await asyncio.sleep(0.05)
                server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(Exception):
                if (await app.stats_async()).processed == 1_500:
                    break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        worker.stop()
        await running
        await app.close_async()

    asyncio.run(main())
    assert set(runs) == set(range(1_500))
    assert max(runs.values()) == 1
    app.flush(confirm=namespace)
    app.close()
