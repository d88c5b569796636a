"""A machine that was suspended: the clock goes on, the timers of the event loop do not."""

from __future__ import annotations

import asyncio
import time

import pytest

from procession import Procession
from procession.clock import monotonic
from procession.runtime.queue_worker import QueueWorker
from tests.model.virtual import measured_by


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_what_elapses_is_measured_by_a_clock_that_counts_suspension() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= monotonic() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_after_a_suspension_a_worker_beats_within_a_second(namespace: str) -> None:
    async def main() -> None:
        app = Procession("memory://", namespace=namespace, lease=600, heartbeat=300)

        @app.job(queue="q")
        def job() -> None: ...

        async def beat_at() -> int:
            return max([it.beat_at for it in await app.ask_async(app.database.workers())], default=0)

        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        while not (first := await beat_at()):
            await asyncio.sleep(0.01)
        with measured_by(lambda: monotonic() + 1_000):
            async with asyncio.timeout(5):
                while await beat_at() == first:
                    await asyncio.sleep(0.01)
        worker.stop()
        await running
        await app.close_async()

    asyncio.run(main())
