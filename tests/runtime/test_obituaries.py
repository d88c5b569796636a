"""A job whose last run ended with its process: its error is in a group, and whom it concerns is told, once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from procession import Procession, State, current_job
from procession.events import Event
from procession.job import Crash, Failure
from tests.runtime.working import until, working

SEGFAULT = Crash(how="signal 11 (SIGSEGV)")


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2)


def killed(app: Procession, times: int, queue: str = "q") -> None:
    """Workers that begin a job and die of it, one after the other."""
    for n in range(times):
        assert app.ask(app.database.claim([queue], f"dead{n}", b"t" * 16, limit=1, lease=60_000)).jobs
        app.ask(app.database.leave(f"dead{n}", crash=SEGFAULT))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_hook_and_the_handlers_of_a_poison_job_are_called_once_by_a_worker_that_lives(
    app: Procession, kind: str
) -> None:
    hooks: list[tuple[UUID, object, object, str, str]] = []
    events: list[Event] = []

    def given_up(failure: Failure) -> None:
        it = current_job()
        hooks.append((it.jid, it.arguments["n"], dict(it.headers), failure.type, failure.message))
        raise RuntimeError("a hook may raise")

    async def given_up_async(failure: Failure) -> None:
        await asyncio.sleep(0)
        given_up(failure)

    if kind == "sync":

        @app.job(name="bad", queue="q", on_exhausted=given_up)
        def bad(n: int) -> None: ...
    else:

        @app.job(name="bad", queue="q", on_exhausted=given_up_async)
        async def bad(n: int) -> None: ...

    app.on("failed")(events.append)

    async def main() -> None:
        handle = bad.using(headers={"tenant": "acme"}).enqueue(7)
        killed(app, 3)
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(working(app))
            await until(lambda: hooks and events)
            await until(lambda: app.errors())
            await asyncio.sleep(0.5)  # two beats of each worker
        assert hooks == [(handle.jid, 7, {"tenant": "acme"}, "WorkerDied", "signal 11 (SIGSEGV)")]
        assert [(it.jid, it.name, it.reason, it.error, it.attempt) for it in events] == [
            (handle.jid, "bad", "poison", "WorkerDied: signal 11 (SIGSEGV)", 3)
        ]
        (group,) = app.errors()
        assert (group.type, group.count, group.names, group.samples) == ("WorkerDied", 3, ("bad",), (handle.jid,))

    asyncio.run(main())


def test_a_crash_that_is_not_the_last_is_in_a_group_and_calls_nobody(app: Procession) -> None:
    told: list[object] = []
    ran = asyncio.Event()

    @app.job(name="bad", queue="q", on_exhausted=told.append)
    async def bad() -> None:
        ran.set()

    app.on("failed")(told.append)

    async def main() -> None:
        handle = bad.enqueue()
        killed(app, 1)
        async with working(app):
            assert (await handle.wait_async(15)).state is State.PROCESSED
            await until(lambda: app.errors())
        assert told == []

    asyncio.run(main())


def test_a_worker_is_told_only_of_deaths_in_its_queues(app: Procession) -> None:
    @app.job(name="bad", queue="q")
    async def bad() -> None: ...

    @app.job(name="good", queue="other")
    async def good() -> None: ...

    async def main() -> None:
        bad.enqueue()
        killed(app, 3)
        async with working(app, queues=["other"]):
            await good.enqueue().wait_async(15)
            await asyncio.sleep(0.5)
        assert not app.errors()
        async with working(app, queues=["q"]):
            await until(lambda: app.errors())

    asyncio.run(main())
