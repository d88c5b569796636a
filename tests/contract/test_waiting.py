"""Waiting for many jobs, on every store: in order and as they end, in few trips, with an end in any case."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import pytest

from procession import (
    ConfigError,
    JobFailed,
    JobNotFound,
    Procession,
    ResultPending,
    State,
    Unavailable,
    as_completed,
    as_completed_async,
    wait_all,
    wait_all_async,
)
from procession.database import AsyncConnection, Connection
from tests.runtime.working import working


@pytest.fixture(params=["memory", "valkey", "redis"])
def app(request: pytest.FixtureRequest, namespace: str) -> Iterator[Procession]:
    kind = request.param
    url = f"memory://{namespace}" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    app = Procession(url, namespace=namespace)

    @app.job(name="double", retry=False)
    async def double(n: int) -> int:
        if n < 0:
            raise ValueError(n)
        return n * 2

    app.double = double  # type: ignore[attr-defined]
    yield app
    app.ask(app.database.flush())
    app.close()


def run(app: Procession, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """On a loop of its own, with nothing left open."""

    async def main() -> Any:
        try:
            return await coroutine
        finally:
            await app.close_async()

    return asyncio.run(main())


def enqueued(app: Any, *numbers: int) -> list[Any]:
    return list(app.enqueue_many(app.double.bind(n) for n in numbers))


def test_all_are_awaited_and_come_in_the_order_of_the_handles(app: Procession) -> None:
    async def main() -> None:
        handles = enqueued(app, 3, -1, 1)
        waiting = asyncio.ensure_future(wait_all_async([*handles, handles[0]], 20))
        in_thread = asyncio.ensure_future(asyncio.to_thread(wait_all, handles, 20))
        async with working(app):
            jobs = await waiting
            assert [job.jid for job in jobs] == [handle.jid for handle in [*handles, handles[0]]]
            assert [job.state for job in jobs[:3]] == [State.PROCESSED, State.FAILED, State.PROCESSED]
            assert [job.jid for job in await in_thread] == [handle.jid for handle in handles]

    asyncio.run(main())


def test_handles_come_as_their_jobs_end(app: Procession) -> None:
    first, second, third = enqueued(app, 1, 2, 3)
    coming = as_completed([first, second, third], 20)
    third.cancel()
    assert next(coming) is third
    first.cancel()
    assert next(coming) is first

    async def main() -> None:
        async with working(app):
            got = [handle async for handle in as_completed_async([first, second], 20)]
            assert got == [first, second]
            assert await second.result_async(20) == 4

    asyncio.run(main())
    assert list(coming) == [second]


def test_several_wait_on_one_loop_each_with_a_time_of_its_own(app: Procession) -> None:
    async def main() -> None:
        first, second, third = enqueued(app, 1, 2, 3)
        waits = [wait_all_async([it], 20) for it in (first, second)]
        early = [asyncio.ensure_future(it) for it in (wait_all_async([third], 0.2), third.wait_async(0.2), *waits)]
        async with asyncio.timeout(10):
            for it in early[:2]:
                with pytest.raises(ResultPending):
                    await it
        async with working(app):
            assert [(await it)[0].state for it in early[2:]] == [State.PROCESSED] * 2

    run(app, main())


def test_who_has_no_time_to_wait_still_hears_of_a_job_that_is_finished(app: Procession) -> None:
    done, never = enqueued(app, 1, 2)
    done.cancel()

    async def main() -> None:
        assert (await done.wait_async(0)).state is State.CANCELLED
        with pytest.raises(ResultPending):
            await never.wait_async(0)

    run(app, main())
    assert done.wait(0).state is State.CANCELLED
    with pytest.raises(ResultPending):
        never.wait(0)


def test_a_failed_one_is_handed_out_like_any_other(app: Procession) -> None:
    async def main() -> None:
        async with working(app):
            (handle,) = [it async for it in as_completed_async(enqueued(app, -7), 20)]
            with pytest.raises(JobFailed, match="ValueError: -7"):
                await handle.result_async(20)

    asyncio.run(main())


def test_the_time_is_for_all_together(app: Procession) -> None:
    done, never = enqueued(app, 1, 2)
    done.cancel()
    since = time.monotonic()
    with pytest.raises(ResultPending, match="1 of 2 jobs are not finished") as caught:
        wait_all([done, never], 0.2)
    assert caught.value.jid == never.jid
    with pytest.raises(ResultPending):
        run(app, wait_all_async([done, never], "200ms"))
    assert time.monotonic() - since < 5


def test_a_job_that_is_removed_ends_the_wait(app: Procession) -> None:
    here, gone = enqueued(app, 1, 2)
    here.cancel()
    app.remove(gone.jid)
    coming = as_completed([gone, here], 20)
    assert next(coming) is here
    with pytest.raises(JobNotFound, match=str(gone.jid)):
        next(coming)
    with pytest.raises(JobNotFound):
        run(app, wait_all_async([gone], 20))


def test_nothing_to_wait_for_ends_at_once(app: Procession) -> None:
    assert wait_all([]) == []
    assert list(as_completed([])) == []
    assert run(app, wait_all_async([])) == []


def test_a_wait_for_many_takes_one_trip_to_look_and_one_to_read(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = enqueued(app, *range(2_500))
    app.purge("default")
    kept = enqueued(app, *range(1_500))
    for handle in kept:
        handle.cancel()
    trips: list[int] = []
    connection = app.connection()
    asked = type(connection).ask

    def counted(self: Connection, *operations: Any, **options: Any) -> Any:
        trips.append(len(operations))
        return asked(self, *operations, **options)

    monkeypatch.setattr(type(connection), "ask", counted)
    assert len(wait_all(kept, 20)) == 1_500
    assert trips == [2, 2]
    with pytest.raises(JobNotFound):
        wait_all(handles, 20)


@pytest.mark.parametrize("ways", ["one", "many"])
def test_who_waits_asks_again_when_rung_and_not_in_between(
    app: Procession, monkeypatch: pytest.MonkeyPatch, ways: str
) -> None:
    (handle,) = enqueued(app, 1)
    trips: list[float] = []
    asked = type(app.connection()).ask

    def counted(self: Connection, *operations: Any, **options: Any) -> Any:
        trips.append(time.monotonic())
        return asked(self, *operations, **options)

    monkeypatch.setattr(type(app.connection()), "ask", counted)
    later = threading.Timer(0.5, handle.cancel)
    later.start()
    job = handle.wait(20) if ways == "one" else wait_all([handle], 20)[0]
    later.join()
    assert job.state is State.CANCELLED
    assert len(trips) == 4, "a look, the cancellation, a look after the ring, and the record"


def test_who_waits_on_a_connection_that_is_given_back_is_told_so(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        (handle,) = enqueued(app, 1)
        connection, blocked = type(app.connection_async()), asyncio.Event()
        blocks = connection.wait

        async def told(self: AsyncConnection, bells: Sequence[str], timeout: float) -> str | None:
            blocked.set()
            return await blocks(self, bells, timeout)

        monkeypatch.setattr(connection, "wait", told)
        waiting = asyncio.ensure_future(handle.wait_async())
        async with asyncio.timeout(10):
            await blocked.wait()
            await app.close_async()
            with pytest.raises(Unavailable, match="was given up"):
                await waiting

    asyncio.run(main())


def test_who_is_told_while_it_looks_is_told_once(
    app: Procession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        handle = await app.double.enqueue_async(1)  # type: ignore[attr-defined]
        connection, looking = type(app.connection_async()), asyncio.Event()
        asks = connection.ask

        async def told(self: AsyncConnection, *operations: Any, **options: Any) -> Any:
            looking.set()
            return await asks(self, *operations, **options)

        monkeypatch.setattr(connection, "ask", told)
        waiting = asyncio.ensure_future(handle.wait_async(20))
        await looking.wait()
        await app.close_async()
        with pytest.raises(Unavailable):
            await waiting

    asyncio.run(main())
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_loop_that_ends_after_a_wait_leaves_no_socket_open(app: Procession) -> None:
    (handle,) = enqueued(app, 1)

    async def main() -> None:
        with pytest.raises(ResultPending):
            await handle.wait_async(0.1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):  # with the next loop, what belonged to the one before is forgotten
            asyncio.run(main())
        gc.collect()
    assert [str(it.message) for it in caught] == []


def test_a_wait_for_one_is_refused_inside_a_job_on_the_loop_too_unless_allowed(app: Procession) -> None:
    @app.job(name="outer", retry=False)
    async def outer(allowed: bool) -> int:
        (handle,) = enqueued(app, 4)
        return int(await handle.result_async(20, inside_job=allowed))

    async def main() -> None:
        async with working(app):
            assert await outer.enqueue(True).result_async(20) == 8
            with pytest.raises(JobFailed, match="inside_job=True"):
                await outer.enqueue(False).result_async(20)

    asyncio.run(main())


def test_inside_a_job_it_is_refused_unless_allowed(app: Procession) -> None:
    @app.job(name="outer", retry=False)
    def outer(allowed: bool) -> list[int]:
        handles = enqueued(app, 4, 5)
        jobs = wait_all(handles, 20, inside_job=allowed)
        return [len(jobs)]

    async def main() -> None:
        async with working(app):
            assert await outer.enqueue(True).result_async(20) == [2]
            with pytest.raises(JobFailed, match="inside_job=True"):
                await outer.enqueue(False).result_async(20)

    asyncio.run(main())


def test_handles_of_two_apps_are_refused(app: Procession) -> None:
    other = Procession("memory://other")
    other.job(name="double")(threading.active_count)
    with pytest.raises(ConfigError, match="several apps"):
        wait_all([*enqueued(app, 1), other.handle("018f0000-0000-7000-8000-000000000000")])
    with pytest.raises(ConfigError, match="is no handle: wait for what enqueue returned"):
        wait_all([enqueued(app, 1)[0].jid])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="10,000 are allowed"):
        as_completed([other.handle("018f0000-0000-7000-8000-000000000000")] * 10_001)
