"""An idle worker beats in time on the event loop that real workers run on."""

from __future__ import annotations

import asyncio
import itertools

import uvloop
from redis import Redis

from procession import Procession
from procession.database.redis.keys import tag
from procession.runtime.queue_worker import QueueWorker


def test_no_beat_waits_for_the_next_bell(valkey_url: str, namespace: str) -> None:
    # A lone worker that misses one looks back at more than half a lease, and takes nothing back for one lease more.
    app = Procession(valkey_url, namespace=namespace, lease=2.0, heartbeat=0.2)

    @app.job(name="never", queue="q")
    async def never() -> None: ...

    seen: list[int] = []

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        with Redis.from_url(valkey_url) as server:
            while len(seen) < 40:
                await asyncio.sleep(0.02)
                at = int(server.hget(f"{tag(namespace)}:meta", "recovered_at") or 0)
                if at and at not in seen[-1:]:
                    seen.append(at)
        worker.stop()
        await running
        await app.close_async()

    uvloop.run(main())
    gaps = [after - before for before, after in itertools.pairwise(seen)]
    assert max(gaps) < 900, gaps
