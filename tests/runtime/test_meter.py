"""What a queue worker tells of the jobs it ran: seen by whoever asks for the history and the errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from procession import Discard, JobHandle, Procession, Retry, constant
from procession.database.measures import EVENTS
from procession.insight import Percentiles
from tests.runtime.working import until, working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=0.3)


def performed(app: Procession, *enqueue: Callable[[], JobHandle[Any]]) -> list[UUID]:
    """Perform jobs to their end, and close the worker."""

    async def main() -> list[UUID]:
        handles = [it() for it in enqueue]
        async with working(app):
            for handle in handles:
                await handle.wait_async(15)
        return [it.jid for it in handles]

    return asyncio.run(main())


def events(app: Procession, **scope: str) -> tuple[int, ...]:
    """What was counted; it may lie in two minutes."""
    points = app.history("3m", **scope).points
    return tuple(sum(getattr(it, name) for it in points) for name in EVENTS)


def told(app: Procession, **scope: str) -> list[Percentiles]:
    """The percentiles of waits and runs."""
    points = app.history("3m", **scope).points
    return [found for it in points for found in (it.wait, it.run) if found is not None]


def test_what_was_performed_is_in_the_history_of_all_of_its_queue_and_of_its_name(app: Procession) -> None:
    @app.job(name="quick", queue="a")
    def quick() -> None: ...

    @app.job(name="bad", queue="b", retry=Retry(attempts=2, backoff=constant(0)))
    async def bad() -> None:
        raise ValueError("no")

    @app.job(name="unwanted", queue="b")
    async def unwanted() -> None:
        raise Discard("not wanted")

    performed(app, quick.enqueue, quick.enqueue, bad.enqueue, unwanted.enqueue)
    try:
        assert events(app) == (4, 2, 1, 1, 1)
        assert {it.type for it in app.errors()} == {"ValueError"}  # what discards itself has not failed
        assert events(app, queue="a") == (2, 2, 0, 0, 0)
        assert events(app, name="bad") == (0, 0, 1, 1, 0)
        for scope in ({}, {"queue": "a"}, {"name": "quick"}):
            percentiles = told(app, **scope)
            assert len(percentiles) >= 2
            assert all(1 <= it.p50 <= it.p95 <= it.p99 < 20_000 for it in percentiles)
        assert told(app, name="nobody") == []
    finally:
        app.flush(confirm=app.settings.namespace)
        app.close()


def test_failed_attempts_are_grouped_by_class_message_and_place(app: Procession) -> None:
    def inner(user: int) -> None:
        raise KeyError(f"user {user}")

    @app.job(name="one", retry=False)
    def one(user: int) -> None:
        inner(user)

    @app.job(name="two", retry=False)
    async def two() -> None:
        int("x")

    jids = performed(app, *[lambda user=user: one.enqueue(user) for user in range(3)], two.enqueue)
    try:
        groups = {it.type: it for it in app.errors()}
        assert groups.keys() == {"KeyError", "ValueError"}
        keys, value = groups["KeyError"], groups["ValueError"]
        assert (keys.count, keys.names, set(keys.samples)) == (3, ("one",), set(jids[:3]))
        assert keys.where.endswith("test_failed_attempts_are_grouped_by_class_message_and_place.<locals>.inner")
        assert keys.message == "<text>"
        assert len(keys.workers) == 1
        assert keys.workers == value.workers
        assert value.where.endswith("two")
        assert value.sample == jids[3]
        assert app.find_job(jids[3]).failures[0].where == value.where  # type: ignore[union-attr]
        assert app.mute_error(keys.fingerprint, "1h")
        muted = {it.type: it.muted_until for it in app.errors()}
        assert muted["KeyError"] > muted["ValueError"] == 0
    finally:
        app.flush(confirm=app.settings.namespace)
        app.close()


def test_a_worker_tells_while_it_works(app: Procession) -> None:
    @app.job(name="quick")
    def quick() -> None: ...

    async def main() -> None:
        async with working(app):
            quick.enqueue()
            await until(lambda: any(it.run for it in app.history("2m", name="quick").points))
        app.flush(confirm=app.settings.namespace)

    asyncio.run(main())
    app.close()
