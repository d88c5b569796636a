"""Scenarios that show a guard of the runtime and of the connections at work; each holds, and fails without its guard.

Those of the store are tests of the contract suite. Called by `test_guards.py`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from redis import Redis

from procession import Procession, ResultPending, State, current_job
from procession.database import Database, Held
from procession.database import open as open_database
from procession.errors import StoreRefused, Unavailable
from procession.job import NewJob, Outcome, new_jid
from procession.moves import Move
from procession.runtime.heartbeat import compare
from procession.runtime.outbox import Outbox
from procession.runtime.queue_worker import QueueWorker
from procession.testing.contract.queue import Ask, claim, new, settle
from tests.chaos.proxy import Proxy
from tests.model.faulty import Weather
from tests.model.replica import fail_over, snapshot
from tests.model.schedule import perform
from tests.runtime.working import taken_back

SOON = 5.0
"""Seconds within which what is to happen at once has happened, on a busy machine."""


async def until(holds: Callable[[], bool], seconds: float = SOON) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def working(app: Procession, **options: Any) -> AsyncIterator[QueueWorker]:
    """A queue worker on this loop; it is dropped at the end like a process that is killed."""
    worker = QueueWorker(app, **options)
    living = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        await app.close_async()


def some_schedules(weather: Weather, deaths: int = 0) -> None:
    """Random histories, up to a hundred: a hole in the protocol shows in one of the first twenty or so."""
    for seed in range(1, 101):
        perform(seed, weather, deaths=deaths)


# The store


def a_full_store_takes_outcomes_and_refuses_work(database: Database, ask: Ask, server: Redis) -> None:
    """With no memory left what runs can be settled, and a new job is refused."""
    ask(database.enqueue([new()]))
    claimed = claim(database, ask).jobs[0]
    server.config_set("maxmemory", 1)
    try:
        refused = is_refused(lambda: ask(database.enqueue([new()])))
        assert not is_refused(lambda: settle(database, ask, claimed, Move.PROCESS)), "a full store does not drain"
    finally:
        server.config_set("maxmemory", 0)
    assert refused, "a full store takes new work"


def is_refused(call: Callable[[], Any]) -> bool:
    """Whether the store says "not now"."""
    try:
        call()
    except StoreRefused:
        return True
    return False


# The runtime


def a_run_whose_job_was_taken_back_is_stopped(app: Procession) -> None:
    """A worker that lost a job learns it from its next heartbeat and ends the run."""
    begun, stopped = asyncio.Event(), asyncio.Event()

    @app.job(name="long", queue="q")
    async def long() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def main() -> None:
        async with working(app, concurrency=1) as worker:
            await long.enqueue_async()
            await asyncio.wait_for(begun.wait(), SOON)
            app.pause("q")
            await taken_back(app, worker)
            await until(stopped.is_set, 3.0)

    asyncio.run(main())


def a_newer_claim_of_the_same_job_is_not_the_run_that_goes_on() -> None:
    """To compare job ids is not enough: the token says which claim."""
    jid = UUID(int=1)
    assert compare([Held(jid, b"new", False)], {jid: b"old"}).lost == [jid]


def a_job_claimed_without_its_worker_knowing_runs_all_the_same(app: Procession) -> None:
    """A claim whose answer nobody heard: the heartbeat shows the job, and it is given back uncharged."""

    @app.job(name="job", queue="q")
    async def job() -> None: ...

    async def main() -> None:
        handle = await job.enqueue_async()
        unheard = app.database.claim(["q"], "w", os.urandom(16), limit=1, lease=2_000)
        assert len((await app.ask_async(unheard)).jobs) == 1
        async with working(app, worker_id="w"):
            await until(lambda: handle.job().state is State.PROCESSED, 3.0)
        assert (handle.job().attempt, handle.job().crashes) == (1, 0)

    asyncio.run(main())


def a_job_claimed_anew_by_its_worker_runs_there_once_at_a_time(url: str, namespace: str) -> None:
    """A job is taken back from its worker and claimed by it again before a heartbeat could say so."""
    app = Procession(url, namespace=namespace, lease=60.0, heartbeat=20.0)
    begun: list[int] = []
    stopped: list[str | None] = []
    go_on = asyncio.Event()

    @app.job(name="job", queue="q")
    async def job() -> None:
        begun.append(current_job().attempt)
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            stopped.append(current_job().stop_reason)
            raise

    async def main() -> State:
        async with working(app) as worker:
            handle = await job.enqueue_async()
            await until(lambda: begun == [1])
            ends = app.database.heartbeat(worker.id, lease=0, info=b"{}")
            await app.connection_async().ask(ends, app.database.recover(10, lease=60_000))
            await until(lambda: begun == [1, 2])
            await until(lambda: stopped == ["lost"], 1.0)
            go_on.set()
            return (await handle.wait_async(SOON)).state

    try:
        assert asyncio.run(main()) is State.PROCESSED
    finally:
        app.close()


def outcomes_stay_until_the_store_has_answered() -> None:
    """What was taken for a trip that broke is there for the next."""
    outbox = Outbox()
    outbox.put([Outcome(jid=UUID(int=1), token=b"t", move=Move.PROCESS)])
    outbox.taken()
    assert len(outbox.taken()) == len(outbox) == 1
    outbox.settled(1)
    assert len(outbox) == 0


def a_blocked_loop_keeps_its_lease(app: Procession) -> None:
    """Sync code inside an `async def` job holds the event loop for longer than a lease, and nobody takes the job."""
    begun, taken = threading.Event(), []

    @app.job(name="blocking", queue="q")
    async def blocking() -> None:
        begun.set()
        time.sleep(3.0)  # noqa: ASYNC251 - this is what the guard is for

    def recover() -> None:
        connection = app.database.connect()
        begun.wait(SOON)
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline and not taken:
            taken.extend(connection.ask(app.database.recover(10, lease=2_000)))
            time.sleep(0.1)
        connection.close()

    async def main() -> None:
        async with working(app):
            thread = threading.Thread(target=recover)
            thread.start()
            handle = await blocking.enqueue_async()
            await asyncio.to_thread(thread.join)
            await until(lambda: handle.job().state is State.PROCESSED or bool(taken))

    asyncio.run(main())
    assert taken == []


def the_claim_that_a_failover_forgot_settles_nothing(url: str, namespace: str, server: Redis) -> None:
    """A worker claims, the failover loses that write, another worker claims: only the second one's result counts."""
    begun: list[str] = []
    done = {"first": asyncio.Event(), "second": asyncio.Event()}

    def shop(name: str) -> tuple[Procession, Any]:
        app = Procession(url, namespace=namespace, lease=30.0, heartbeat=15.0)

        @app.job(name="job", queue="q")
        async def job() -> str:
            begun.append(name)
            await done[name].wait()
            return name

        return app, job

    (first, job), (second, _) = shop("first"), shop("second")

    async def main() -> str:
        handle = await job.enqueue_async()
        before = snapshot(server, namespace)
        async with working(first, concurrency=1) as worker:
            await until(lambda: begun == ["first"])
            fail_over(server, namespace, before)
            async with working(second, concurrency=1):
                await until(lambda: begun == ["first", "second"])
                done["first"].set()
                await until(lambda: not worker._performer.held())
                done["second"].set()
                result: str = await handle.result_async(SOON)
                return result

    try:
        assert asyncio.run(main()) == "second"
    finally:
        first.close()
        second.close()


def a_job_that_is_final_already_is_not_waited_for(app: Procession) -> None:
    """To wait is to look first: a bell that rang before nobody hears again."""
    job = NewJob(jid=new_jid(), spec=b'["f",{}]', queue="q")
    app.ask(app.database.enqueue([job]))
    app.cancel(job.jid)

    async def main() -> State:
        try:
            return (await app.handle(job.jid).wait_async(1.0)).state
        except ResultPending as error:
            raise AssertionError("the caller waits for what has been") from error
        finally:
            await app.close_async()

    assert asyncio.run(main()) is State.CANCELLED


# The connections


def a_silent_store_is_given_up_by_an_event_loop(proxy: Proxy, namespace: str) -> None:
    """A call on an event loop ends by its deadline."""
    database = open_database(proxy.url, namespace=namespace)

    async def main() -> None:
        connection = database.connect_async(0.3)
        await connection.ask(database.counts())
        proxy.swallow(True)
        asking = asyncio.ensure_future(connection.ask(database.counts()))
        await asyncio.wait([asking], timeout=2.0)
        ended = asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await connection.close()
        assert ended, "the call has no deadline"
        assert isinstance(asking.exception(), Unavailable)

    asyncio.run(main())


def a_silent_store_is_given_up_by_a_thread(proxy: Proxy, namespace: str) -> None:
    """A call of a sync caller ends by its deadline."""
    database = open_database(proxy.url, namespace=namespace)
    connection = database.connect(0.3)
    connection.ask(database.counts())
    proxy.swallow(True)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            connection.ask(database.counts())
        except Unavailable as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2.0)
    ended = not thread.is_alive()
    proxy.reset()
    thread.join(SOON)
    connection.close()
    assert ended, "the call has no deadline"
    assert len(errors) == 1


def only_what_the_server_did_not_know_is_asked_again(database: Database, ask: Ask, clock: Any, server: Redis) -> None:
    """Of a pipeline with a script that the server forgot, the others ran: they are not run twice."""
    ask(database.enqueue([new(delay=1), new(delay=2)]))
    clock.pass_(10)
    server.script_flush()
    ask(database.promote(0))
    promoted, counts = ask(database.promote(1), database.counts())
    assert promoted.moved == 1
    assert counts.queued == 1


def a_line_that_the_server_closed_is_replaced_before_use(database: Database, ask: Ask, server: Redis) -> None:
    """The first question after the server cut idle lines simply works."""
    ask(database.counts())
    server.client_kill_filter(_type="normal", skipme=True)
    try:
        ask(database.counts())
    except Unavailable as error:
        raise AssertionError("a dead line was used") from error
