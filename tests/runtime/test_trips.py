"""Trips that set out before the answers of the last are worked on, and the coroutine that is begun by hand for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest

from procession import Procession
from procession.errors import Unavailable
from procession.runtime import outbox
from procession.runtime.coroutines import begun
from tests.runtime.working import Between, put_between, working


@pytest.fixture
def url(valkey_url: str) -> str:
    return valkey_url


def test_a_coroutine_is_begun_at_once_and_goes_on_when_it_is_awaited() -> None:
    done: list[str] = []

    async def work() -> str:
        done.append("begun")
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        done.append("over")
        return "answer"

    async def main() -> str:
        coming = begun(work())
        assert done == ["begun"]
        await asyncio.sleep(0.01)
        assert done == ["begun"]
        return await coming

    assert asyncio.run(main()) == "answer"
    assert done == ["begun", "over"]


def test_what_does_not_wait_has_its_answer_or_its_error_when_it_is_awaited() -> None:
    async def answers() -> int:
        return 7

    async def fails() -> int:
        raise LookupError("at once")

    async def fails_later() -> int:
        await asyncio.sleep(0)
        raise LookupError("later")

    async def main() -> None:
        coming = [begun(it) for it in (answers(), fails(), fails_later())]
        assert await coming[0] == 7
        with pytest.raises(LookupError, match="at once"):
            await coming[1]
        with pytest.raises(LookupError, match="later"):
            await coming[2]

    asyncio.run(main())


def test_a_cancellation_reaches_what_was_begun() -> None:
    heard: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
            heard.append("cancelled")
            raise

    async def waits(coroutine: Coroutine[Any, Any, None]) -> None:
        await begun(coroutine)

    async def main() -> None:
        task = asyncio.ensure_future(waits(work()))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert heard == ["cancelled"]


class Load:
    """A worker with many short jobs, its connection, and what came over it and was begun."""

    def __init__(self, url: str, namespace: str, **settings: Any) -> None:
        self.app = Procession(url, namespace=namespace, **settings)
        self.ended = 0
        self.came: set[UUID] = set()
        """Jobs that came, in turns and behind a wait."""
        self.most_unsettled = 0
        """Outcomes that waited as a claim was asked."""
        self.not_begun: list[int] = []
        """At each claim: how many jobs have come that are not begun."""
        self.lose = False
        """The answers to a trip that beats and claims get lost, once."""
        put_between(self.app, lambda connection: Line(connection, self))

        @self.app.job(name="note", queue="q")
        async def note() -> None:
            self.ended += 1

        self.note = note

    @property
    def claimed(self) -> int:
        return len(self.came)

    async def perform(self, count: int) -> None:
        """Enqueue so many, and wait until all are processed."""
        await self.app.enqueue_many_async([self.note.bind() for _ in range(count)])
        async with working(self.app) as self.worker:
            while (await self.app.counts_async()).processed < count:
                await asyncio.sleep(0.02)


class Line(Between):
    """A connection of the worker."""

    def __init__(self, connection: Any, load: Load) -> None:
        super().__init__(connection)
        self._load = load

    async def ask(self, *operations: Any, **options: Any) -> Any:
        load, verbs = self._load, [it.script.name for it in operations]
        if "claim" in verbs:
            worker = load.worker
            load.most_unsettled = max(load.most_unsettled, len(worker._outbox))
            load.not_begun.append(load.claimed - load.ended - worker._performer.executing)
            if len(load.not_begun) == 4:
                worker._beat_alarm.ring()  # a later trip beats and claims
            if load.lose:  # what is in hand when it gets lost ends in the pause, and is less than stops the claims
                worker._performer._tasks._pace.soon = lambda: 600  # type: ignore[method-assign]
        if load.lose and len(load.not_begun) >= 4:
            load.worker._beat_alarm.ring()  # each trip beats, until one claims, too: there may be no place just then
        answer = await self._connection.ask(*operations, **options)
        if load.lose and len(load.not_begun) > 4 and {"heartbeat", "claim"} <= {*verbs}:
            load.lose = False
            raise Unavailable("the connection broke", asked=True)
        if "claim" in verbs:
            load.came.update(job.jid for job in (answer if len(operations) == 1 else answer[-1]).jobs)
        return answer

    async def wait_then_ask(self, bells: Any, timeout: float, *then: Any) -> Any:
        bell, claims = await self._connection.wait_then_ask(bells, timeout, *then)
        self._load.came.update(job.jid for job in claims.jobs)
        return bell, claims


def test_the_next_claim_sets_out_before_the_jobs_of_the_last_are_begun(url: str, namespace: str) -> None:
    load = Load(url, namespace)
    asyncio.run(load.perform(4_000))
    assert load.ended == load.claimed == 4_000
    assert min(load.not_begun) == 0
    assert max(load.not_begun) > 100


def test_jobs_of_a_claim_that_is_repeated_with_its_beat_are_no_strangers(url: str, namespace: str) -> None:
    load = Load(url, namespace)
    load.lose = True
    asyncio.run(load.perform(12_000))
    assert not load.lose
    assert load.ended == load.claimed == 12_000


@pytest.mark.parametrize("places", [1, 3_000])
def test_a_worker_of_any_size_goes_on_as_soon_as_its_outcomes_are_settled(
    url: str, namespace: str, places: int
) -> None:
    load = Load(url, namespace, lease=60.0, heartbeat=30.0, concurrency=places)  # a beat, which wakes it, is too late
    asyncio.run(asyncio.wait_for(load.perform(12_000), 25))
    assert load.ended == 12_000
    assert load.most_unsettled <= outbox.BATCH
