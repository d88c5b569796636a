"""Which job comes next, as a worker's settings say: strict order, shares, ageing, seen through what was performed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

from procession import Procession, current_job
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import until, working


def performed(url: str, namespace: str, jobs: dict[str, int], **settings: Any) -> list[str]:
    """The queues of the jobs in the order in which one worker with one place performed them."""
    app = Procession(url, namespace=namespace, concurrency=1, **settings)
    order: list[str] = []

    @app.job(name="j")
    async def job(queue: str) -> None:
        order.append(queue)
        await asyncio.sleep(0.002)  # so that a claim takes a few ahead and not all

    app.enqueue_many(job.using(queue=queue).bind(queue) for queue, number in jobs.items() for _ in range(number))

    async def main() -> None:
        await QueueWorker(app, burst=True).run()
        await app.close_async()

    asyncio.run(main())
    app.flush(confirm=namespace)
    app.close()
    return order


def test_in_strict_order_a_queue_begins_when_those_before_it_have_nothing(valkey_url: str, namespace: str) -> None:
    order = performed(valkey_url, namespace, {"c": 20, "a": 20, "b": 20}, queues=["a", "b", "c"], queue_order="strict")
    assert order == ["a"] * 20 + ["b"] * 20 + ["c"] * 20


def test_by_shares_each_queue_has_its_part_while_all_have_work(valkey_url: str, namespace: str) -> None:
    order = performed(valkey_url, namespace, {"c": 20, "b": 60, "a": 120}, queues="a:6, b:3, c:1")
    assert len(order) == 200
    counted = Counter(order[:100])  # in proportion, all would end together
    for queue, share in {"a": 60, "b": 30, "c": 10}.items():
        assert abs(counted[queue] - share) <= 15, counted


def test_without_shares_queues_take_equal_turns(valkey_url: str, namespace: str) -> None:
    order = performed(valkey_url, namespace, {"a": 60, "b": 60}, queues=["a", "b"])
    assert abs(Counter(order[:60])["a"] - 30) <= 15


def test_with_ageing_a_job_below_a_constant_load_runs_within_its_bound(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace, concurrency=1, ageing="60ms")
    before: list[UUID] = []
    ran = asyncio.Event()

    @app.job(name="urgent", priority=5)
    async def urgent() -> None:
        if not ran.is_set():
            before.append(current_job().jid)
            await urgent.enqueue_async()  # so that as many wait as ever, and without ageing nothing else would run

    @app.job(name="modest", priority=0)
    async def modest() -> None:
        ran.set()

    async def main() -> list[int]:
        app.enqueue_many(urgent.bind() for _ in range(100))
        handle = await modest.enqueue_async()
        async with working(app):
            await until(ran.is_set)
            since = (await handle.job_async()).enqueued_at
            return [(await app.handle(jid).job_async()).enqueued_at - since for jid in before]

    later = asyncio.run(main())
    assert len(later) > 100
    assert 0 < max(later) <= 5 * 60, "one that was ready after the bound went first"
    app.flush(confirm=namespace)
    app.close()
