"""Sentences of the contract that need more than one database object of a store, or a server to be rude to."""

from __future__ import annotations

import asyncio
import random

import pytest
from redis import Redis

from procession.database import Database, Policy, Query
from procession.database import open as open_database
from procession.job import Outcome, State
from procession.moves import Move
from procession.schedule import due, run_jid
from procession.testing.contract.fixtures import Clock
from procession.testing.contract.invariants import all_jobs
from procession.testing.contract.notes import note, running, texts
from procession.testing.contract.queue import Ask
from procession.testing.contract.schedules import MINUTE, add, look, minutely


def test_last_words_are_kept_by_a_server_that_knows_no_script(valkey_url: str, namespace: str) -> None:
    database = open_database(valkey_url, namespace=namespace, policy=Policy())
    connection = database.connect()
    job = running(database, connection.ask)
    with Redis.from_url(valkey_url) as server:
        server.script_flush()
    connection.ask(database.settle("w1", []))  # of the two scripts, this one is known
    settled = database.settle("w1", [Outcome(jid=job.jid, token=job.token, move=Move.RETRY)])
    assert connection.ask(database.note([note(job, 1, "bye")]), settled) == ([True], [True])
    assert texts(database, connection.ask, job) == [(1, "bye")]
    connection.close()


def test_ten_skewed_schedulers_that_are_killed_fire_sixty_slots_sixty_times(
    database: Database, ask: Ask, clock: Clock, request: pytest.FixtureRequest, namespace: str
) -> None:
    """Each runs behind or ahead by up to two seconds, sleeps unevenly, and dies between looking and firing."""
    rng = random.Random(60)
    url = database.url if "memory" in database.url else request.getfixturevalue("valkey_url")
    if request.node.callspec.params["database"] == "redis":
        url = request.getfixturevalue("redis_url")
    clock.now -= clock.now % MINUTE
    add(database, ask, clock, minutely(missed="all"))
    begin = clock.now

    async def scheduler(skew: int) -> None:
        mine = open_database(url, namespace=namespace, now=lambda: clock.now + skew)
        connection = mine.connect_async()
        try:
            while clock.now - skew < begin + 60 * MINUTE - 3_000:
                found = await connection.ask(mine.due_schedules(10))
                await asyncio.sleep(0)
                if rng.random() < 0.3:
                    return  # killed with a decision in its hands
                await connection.ask(mine.fire([due(it, found.now) for it in found.schedules]))
                if rng.random() < 0.05:
                    return
                clock.pass_(rng.randrange(5_000))
                await asyncio.sleep(0)
        finally:
            await connection.close()

    async def main() -> None:
        alive: set[asyncio.Task[None]] = set()
        while clock.now < begin + 60 * MINUTE:
            while len(alive) < 10:
                alive.add(asyncio.ensure_future(scheduler(rng.randrange(-2_000, 2_000))))
            done, alive = await asyncio.wait(alive, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        for task in alive:
            task.cancel()
        await asyncio.gather(*alive, return_exceptions=True)

    asyncio.run(main())
    clock.now = begin + 60 * MINUTE
    look(database, ask)
    slots = {run_jid("tick", begin + n * MINUTE) for n in range(1, 61)}
    jids = [job.jid for job in all_jobs(database, ask, State.QUEUED)]
    assert set(jids) - slots <= {run_jid("tick", begin + 61 * MINUTE)}
    assert slots <= set(jids)
    assert len(jids) == len(set(jids)) == ask(database.counts()).enqueued
    assert ask(database.page(Query(state=State.QUEUED), limit=100)).cursor is None
