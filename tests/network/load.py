"""Work under way while something happens to the store: a producer that never gives up, a queue worker, and the
count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from procession import EnqueueError, Procession, State
from procession.errors import DatabaseError
from procession.runtime.queue_worker import QueueWorker


class Load:
    """Jobs enqueued one after another, each repeated with its jid until it is accepted."""

    def __init__(self, url: str, namespace: str, **settings: Any) -> None:
        self.app = Procession(url, namespace=namespace, **{"lease": 5.0, "heartbeat": 0.5, **settings})
        self.accepted: dict[int, UUID] = {}
        self.runs: Counter[int] = Counter()
        self.refusals: Counter[str] = Counter()

        @self.app.job(name="note", queue="q")
        async def note(n: int) -> int:
            self.runs[n] += 1
            await asyncio.sleep(0.002)
            return n

        self.note = note

    async def _produce(self, over: asyncio.Event) -> None:
        n = 0
        while not over.is_set():
            jid = None
            while n not in self.accepted:
                try:
                    handle = await (self.note if jid is None else self.note.using(jid=jid)).enqueue_async(n)
                except EnqueueError as error:
                    jid = error.jids[0]
                    self.refusals[error.stored] += 1
                    await asyncio.sleep(0.05)
                else:
                    self.accepted[n] = handle.jid
            n += 1
            await asyncio.sleep(0.002)

    async def during(self, trouble: Callable[[], Awaitable[None]]) -> None:
        """Produce and perform while `trouble` lasts and a little longer, then until everything accepted is
        performed."""
        worker, over = QueueWorker(self.app), asyncio.Event()
        running, producing = asyncio.ensure_future(worker.run()), asyncio.ensure_future(self._produce(over))
        await self._grown(30)
        await trouble()
        await self._grown(30)
        over.set()
        await producing
        async with asyncio.timeout(30):
            while not await self._is_done():
                await asyncio.sleep(0.1)
        worker.stop()
        await running

    async def check(self) -> None:
        """Nothing accepted is lost, and nothing was settled twice."""
        stats = await self.app.stats_async()
        assert (stats.processed, stats.failed, stats.scheduled, stats.running) == (len(self.accepted), 0, 0, 0)
        for n, jid in self.accepted.items():
            job = await self.app.find_job_async(jid)
            assert job is not None, f"job {n} is lost"
            assert job.state is State.PROCESSED
            assert self.runs[n] >= 1

    async def _grown(self, more: int) -> None:
        goal = len(self.accepted) + more
        async with asyncio.timeout(30):
            while len(self.accepted) < goal:
                await asyncio.sleep(0.01)

    async def _is_done(self) -> bool:
        try:
            stats = await self.app.stats_async()
        except DatabaseError:
            return False
        return stats.scheduled == stats.running == 0
