"""A real queue worker beside a lost lease: it mends, says so once, and performs what comes back."""

from __future__ import annotations

import asyncio
import logging

import pytest
from redis import Redis

from procession import Procession, State
from procession.database.redis.keys import tag
from procession.runtime.queue_worker import QueueWorker


def test_a_queue_worker_mends_a_lost_lease_says_so_once_and_performs_the_job(
    valkey_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Procession(valkey_url, namespace=namespace, lease=0.6, heartbeat=0.1)
    handle = app.job(name="j", queue="q")(lambda: "done").enqueue()
    app.ask(app.database.claim(["q"], "dead", b"t" * 16, limit=1, lease=60_000))
    with Redis.from_url(valkey_url) as server:
        assert server.zrem(f"{tag(namespace)}:leases", "dead") == 1

    async def main() -> str:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        result: str = await handle.result_async(20)
        assert {it.memory > 1_000_000 for it in await app.workers_async()} == {True}
        worker.stop()
        await running
        await app.close_async()
        return result

    with caplog.at_level(logging.WARNING, "procession.worker"):
        assert asyncio.run(main()) == "done"
    assert [it.message for it in caplog.records if "mended" in it.message] == [
        "mended the store in 1 places; `procession repair` looks for more"
    ]
    job = app.find_job(handle.jid)
    assert job is not None
    assert (job.state, job.crashes, job.attempt) == (State.PROCESSED, 1, 2)
    assert job.failures[0].crash is not None
    assert job.failures[0].crash.how == "lease ended"
    assert app.counts().repaired == 1
    app.close()
