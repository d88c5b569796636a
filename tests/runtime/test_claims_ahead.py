"""The claim that lies behind the wait of a worker with nothing to do: made by the store as a bell rings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis import Redis

from procession import Job, Procession, State
from procession.errors import Unavailable
from procession.orders import Order
from tests.runtime.working import Between, put_between, until, working


class Line(Between):
    """A connection of a worker, and which way its claims take. Of those behind a wait `lost` answers get lost."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.in_turns = self.ahead = self.lost = self.handed = 0
        self.delay = 0.0
        """Seconds for which its answers are on the way."""
        self.lies = False
        """A claim is at the store, behind a wait."""
        self.came = False
        """It was made; the worker hears of it when its delay is over."""
        self.left = self.lay_at_leave = False

    async def ask(self, *operations: Any, **options: Any) -> Any:
        verbs = {it.script.name for it in operations}
        self.in_turns += "claim" in verbs
        if "leave" in verbs:
            self.left, self.lay_at_leave = True, self.lies
        return await self._connection.ask(*operations, **options)

    async def wait_then_ask(self, *given: Any) -> Any:
        self.lies, self.came = True, False
        try:
            bell, claims = await self._connection.wait_then_ask(*given)
            self.came = True
            await asyncio.sleep(self.delay)
        finally:
            self.lies = False
        self.ahead += bool(claims.jobs)
        self.handed += 1
        if claims.jobs and self.lost:
            self.lost -= 1
            raise Unavailable("the connection broke", asked=True)
        return bell, claims


class Shop:
    """An app with one job, and the connections of its workers."""

    def __init__(self, url: str, namespace: str) -> None:
        self.app = Procession(url, namespace=namespace, lease=60.0, heartbeat=30.0)
        self.lines: list[Line] = []
        self.runs: list[int] = []
        self.go_on = asyncio.Event()

        def line(connection: Any) -> Line:
            self.lines.append(Line(connection))
            return self.lines[-1]

        put_between(self.app, line)

        @self.app.job(name="note", queue="q")
        async def note(n: int, hold: bool = False) -> None:
            self.runs.append(n)
            if hold:
                await self.go_on.wait()

        self.note = note

    def found(self, handle: Any) -> Job:
        """The job, from outside any loop."""
        job: Job = handle.job()
        self.app.close()
        return job

    async def at_rest(self) -> Line:
        """The line of the worker, once its claim lies at the store."""
        found: Line = await until(lambda: next((it for it in self.lines if it.lies), None))
        await asyncio.sleep(0.05)  # it is sent with the wait; nothing tells when it is there
        return found


@pytest.fixture
def url(valkey_url: str) -> str:
    return valkey_url


def test_who_has_nothing_to_do_is_handed_a_job_with_the_ring(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> None:
        async with working(shop.app):
            line = await shop.at_rest()
            before = line.in_turns
            for n in range(3):
                await (await shop.note.enqueue_async(n)).wait_async(15)
                await shop.at_rest()
            assert (line.ahead, line.in_turns - before) == (3, 0)

    asyncio.run(main())
    assert shop.runs == [0, 1, 2]


def test_what_comes_with_a_ring_lengthens_no_lease(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> list[Any]:
        async with working(shop.app) as worker:
            await shop.at_rest()
            with Redis.from_url(url) as server:
                leases = [server.zscore(f"{{{namespace}:0}}:leases", worker.id)]
                handle = await shop.note.enqueue_async(1, hold=True)
                await until(lambda: shop.runs == [1])
                leases.append(server.zscore(f"{{{namespace}:0}}:leases", worker.id))
            shop.go_on.set()
            await handle.wait_async(15)
            return leases

    before, after = asyncio.run(main())
    assert before == after is not None


def test_a_crowd_is_claimed_in_turns_and_only_its_first_ahead(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> None:
        async with working(shop.app):
            await shop.at_rest()
            handles = await shop.app.enqueue_many_async([shop.note.bind(n) for n in range(100)])
            for handle in handles:
                await handle.wait_async(15)

    asyncio.run(main())
    assert sorted(shop.runs) == [*range(100)]


def test_jobs_of_a_claim_ahead_whose_answer_is_lost_come_with_the_next_claim(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> Any:
        async with working(shop.app):
            line = await shop.at_rest()
            line.lost = 1
            job = await (await shop.note.enqueue_async(1)).wait_async(15)
            assert line.lost == 0
            return job

    job = asyncio.run(main())
    assert (shop.runs, job.state, job.attempt, job.crashes) == ([1], State.PROCESSED, 1, 0)


@pytest.mark.parametrize("quiet", [False, True])
def test_what_an_unheard_claim_took_is_given_back_only_if_no_claim_follows(
    url: str, namespace: str, quiet: bool
) -> None:
    shop = Shop(url, namespace)

    async def main() -> Any:
        async with working(shop.app) as worker:
            line = await shop.at_rest()
            line.lost = 1
            async with worker._turning:  # a turn that beats, and was put together before the answer was lost
                handle = await shop.note.enqueue_async(1)
                await until(lambda: not line.lost)
                if quiet:
                    worker.orders.quiet = Order(verb="quiet", id="o")
                beat = worker._database.heartbeat(worker.id, lease=60_000, info=b"{}")
                worker._beat(await worker._patient.ask(beat), asked=False)
                assert len(worker._outbox) == quiet
            if quiet:
                while (await handle.job_async()).state is not State.QUEUED:
                    await asyncio.sleep(0.01)
                worker.orders.quiet = None
                worker._steered()
            return await handle.wait_async(5)

    job = asyncio.run(main())
    assert (shop.runs, job.state, job.attempt, job.crashes) == ([1], State.PROCESSED, 1, 0)


def test_a_worker_that_leaves_has_withdrawn_its_claim(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> Line:
        async with working(shop.app) as worker:
            line = await shop.at_rest()
            worker.stop()
        return line

    line = asyncio.run(main())
    assert (line.left, line.lay_at_leave) == (True, False)


def test_who_performs_something_lets_no_claim_lie(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> None:
        async with working(shop.app):
            line = await shop.at_rest()
            held = await shop.note.enqueue_async(1, hold=True)
            await until(lambda: shop.runs == [1])
            await asyncio.sleep(0.05)
            before, lies = line.in_turns, line.lies
            await (await shop.note.enqueue_async(2)).wait_async(15)  # claimed in a turn, as the bell rings
            assert (lies, line.ahead, line.in_turns) == (False, 1, before + 1)
            shop.go_on.set()
            await held.wait_async(15)
            await (await shop.note.enqueue_async(3)).wait_async(15)
            await shop.at_rest()

    asyncio.run(main())
    assert shop.runs == [1, 2, 3]


def test_a_job_that_comes_ahead_as_the_worker_is_told_to_stop_is_given_back(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> Any:
        async with working(shop.app) as worker:
            await shop.at_rest()
            async with worker._turning:  # a turn is under way
                handle = await shop.note.enqueue_async(1)
                await until(lambda: shop.lines[0].ahead == 1)
                worker.stop()
        return handle

    job = shop.found(asyncio.run(main()))
    assert (shop.runs, job.state, job.crashes) == ([], State.QUEUED, 0)


def test_what_a_turn_compares_is_not_disturbed_by_a_job_that_comes_meanwhile(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> Any:
        async with working(shop.app) as worker:
            await shop.at_rest()
            beat = worker._database.heartbeat(worker.id, lease=60_000, info=b"{}")
            async with worker._turning:  # a turn that beats; the job comes just after the beat, or just before it
                asked_before = await worker._patient.ask(beat)
                handle = await shop.note.enqueue_async(1, hold=True)
                await until(lambda: shop.lines[0].ahead == 1)
                await asyncio.sleep(0.05)
                worker._beat(asked_before, asked=False)
                worker._beat(await worker._patient.ask(beat), asked=False)
                assert not len(worker._outbox)
            await until(lambda: shop.runs == [1], 3.0)
            shop.go_on.set()
            return await handle.wait_async(5)

    job = asyncio.run(main())
    assert (shop.runs, job.state, job.attempt) == ([1], State.PROCESSED, 1)


def test_a_job_that_comes_in_a_turn_is_not_begun_anew_when_it_comes_with_a_ring(url: str, namespace: str) -> None:
    shop = Shop(url, namespace)

    async def main() -> Any:
        async with working(shop.app) as worker:
            line = await shop.at_rest()
            line.delay = 0.3
            before, handed = line.in_turns, line.handed
            handle = await shop.note.enqueue_async(1, hold=True)
            await until(lambda: line.came)
            worker._rung(hungry=True)  # a turn claims, while the answer to the claim ahead is on its way
            await until(lambda: shop.runs == [1], 0.2)
            assert line.in_turns == before + 1
            await until(lambda: line.handed > handed)
            await asyncio.sleep(0.05)
            shop.go_on.set()
            return await handle.wait_async(5)

    job = asyncio.run(main())
    assert (shop.runs, job.state, job.attempt) == ([1], State.PROCESSED, 1)
