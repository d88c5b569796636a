"""What an app's own code raises around a run, where its failure is judged, sealed, or told: each job comes to an
outcome all the same, and its worker goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from procession import Fail, Procession, Retry, State, constant, current_job
from procession.job import Crash
from procession.runtime import executor
from procession.runtime.beside import beside
from procession.runtime.pulse import Beating
from procession.runtime.queue_worker import QueueWorker
from procession.sealing import CLOSED, Sealing
from tests.runtime.working import until, working


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "POSTPONED", 10)


class KeyService:
    """A codec that asks somebody else, who may be away."""

    name = "kms"
    seals = opens = True

    def seal(self, data: bytes, what: bytes) -> bytes:
        return self._turned(data, self.seals)

    def open(self, data: bytes, what: bytes) -> bytes:
        return self._turned(data, self.opens)

    def _turned(self, data: bytes, there: bool) -> bytes:
        if not there:
            raise ConnectionError("the key service is away")
        return bytes(byte ^ 1 for byte in data)


class Picky(type):
    """A class of errors that cannot be asked for."""

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("do not ask")


class Touchy(Exception, metaclass=Picky): ...


class Nameless(Exception):
    """Its traceback and its class cannot be read."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no")


def short_of_waits(attempt: int) -> float:
    return [0.01][attempt - 1]


POLICIES: dict[str, Callable[[], Retry]] = {
    "a backoff": lambda: Retry(attempts=3, backoff=short_of_waits, jitter=False),
    "a class": lambda: Retry(attempts=3, never=(Touchy,), backoff=constant(0.01)),
}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("what", POLICIES)
def test_a_policy_that_raises_costs_no_place_and_its_job_runs_as_often_as_it_should(
    namespace: str, what: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Procession(f"memory://{namespace}")

    def fail() -> None:
        raise ValueError("no")

    async def fail_async() -> None:
        fail()

    bad = app.job(fail if kind == "sync" else fail_async, name="bad", retry=POLICIES[what]())
    good = app.job(lambda: 1, name="good")

    async def main() -> None:
        async with working(app, concurrency=1, threads=1) as worker:
            found = await bad.enqueue().wait_async(20)
            assert (found.state, found.attempt, found.error) == (State.FAILED, 3, "ValueError: no")
            assert await good.enqueue().result_async(20) == 1
            await until(lambda: not worker._performer.held())

    asyncio.run(main())
    assert "its retry policy is of no use" in caplog.text


@pytest.mark.usefixtures("soon")
def test_an_error_that_cannot_be_read_is_a_failed_attempt(namespace: str) -> None:
    app = Procession(f"memory://{namespace}")
    unread = {"__module__": None, "__qualname__": "E"}
    hollow = type("E", (Exception,), unread)

    @app.job(name="j", retry=False)
    async def job(what: str) -> None:
        raise Nameless if what == "nameless" else hollow("x")

    async def main() -> None:
        async with working(app):
            for what in ("nameless", "hollow"):
                found = await job.enqueue(what).wait_async(20)
                assert (found.state, found.attempt) == (State.FAILED, 1)
                assert found.reason in ("unjudged", "no retry")
            assert [it.type for it in found.failures] == ["E"]

    asyncio.run(main())


def test_while_a_key_service_is_away_errors_keep_their_type_and_no_text(namespace: str) -> None:
    service = KeyService()
    app = Procession(f"memory://{namespace}", codec=[service], retry=Retry(attempts=2, backoff=constant(0.01)))

    @app.job(name="j")
    async def job(secret: str) -> str:
        service.seals = current_job().attempt > 1
        return secret

    @app.job(name="gone")
    async def gone(secret: str) -> None:
        service.seals = False
        raise Fail(secret)

    async def main() -> None:
        async with working(app):
            handle = job.enqueue("4111")
            await until(lambda: (it := handle.job()) and it.failures)
            service.seals = True
            assert await handle.result_async(20) == "4111"
            assert [(it.type, it.message) for it in handle.job().failures] == [("ConnectionError", CLOSED)]
            given_up = await gone.enqueue("4111").wait_async(20)
            assert (given_up.state, given_up.failures[0].message) == (State.FAILED, CLOSED)
            await until(lambda: (it := app.errors()) and len(it) == 2)
            assert {(it.type, it.message) for it in app.errors()} == {("ConnectionError", CLOSED), ("Fail", CLOSED)}

    asyncio.run(main())


def test_an_error_that_cannot_be_opened_is_counted_all_the_same(namespace: str) -> None:
    service = KeyService()
    app = Procession(f"memory://{namespace}", codec=[service], retry=False)

    @app.job(name="j")
    async def job() -> None:
        service.opens = False
        raise ValueError("4111")

    async def main() -> None:
        async with working(app):
            for count in (1, 2):
                service.opens = True
                job.enqueue()
                await until(lambda: app.counts().failed == count)  # noqa: B023
            found = await until(lambda: (it := app.errors()) and it[0].count == 2 and it)
            assert [(it.type, it.message) for it in found] == [("ValueError", CLOSED)]

    asyncio.run(main())


def test_a_dossier_that_cannot_be_sealed_says_how_it_ended_and_no_more() -> None:
    service = KeyService()
    service.seals = False
    crash = Sealing([service]).seal_crash(Crash(how="signal 9", log=("4111",), stack="4111"), "w")
    assert (crash.how, crash.log, crash.stack) == ("signal 9", (CLOSED,), CLOSED)


def test_notes_go_on_when_a_key_service_comes_back(namespace: str) -> None:
    service, go, away = KeyService(), asyncio.Event(), asyncio.Event()
    app = Procession(f"memory://{namespace}", codec=[service])

    @app.job(name="j")
    async def job() -> None:
        current_job().progress(0.1, "one")
        await away.wait()
        current_job().progress(0.2, "two")
        await go.wait()
        service.seals = True
        current_job().progress(0.3, "three")
        await asyncio.sleep(60)

    async def main() -> None:
        async with working(app, threads=1) as worker:
            handle = job.enqueue()
            said = lambda: (it := handle.job()) and it.progress and it.progress.text  # noqa: E731
            await until(lambda: said() == "one")
            service.seals = False
            away.set()
            (active,) = worker._performer._active.values()
            await until(lambda: active.run.context.notes().empty)
            go.set()
            await until(lambda: said() == "three")
            assert not worker._stopping.is_set()
            await handle.cancel_async()

    asyncio.run(main())


def test_a_worker_whose_part_breaks_finishes_what_runs_and_ends_with_that_error(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Procession(f"memory://{namespace}")
    broken, begun = asyncio.Event(), asyncio.Event()

    class Breaking(Beating):
        async def run(self, look: Callable[[], None]) -> None:
            await begun.wait()
            broken.set()
            raise LookupError("where is it?")

    @app.job(name="j")
    async def job() -> int:
        begun.set()
        await broken.wait()
        await asyncio.sleep(0.1)
        return 1

    async def main() -> None:
        handle = job.enqueue()
        with pytest.raises(LookupError, match="where is it"):
            await QueueWorker(app, pulse=Breaking()).run()
        assert handle.job().state is State.PROCESSED  # type: ignore[union-attr]
        await app.close_async()

    with caplog.at_level(logging.ERROR, logger="procession"):
        asyncio.run(main())
    assert "a part of the queue worker is broken, so it stops" in caplog.text


def test_what_goes_on_beside_a_block_ends_with_it_and_a_stray_cancellation_breaks_it() -> None:
    async def goes_on() -> None:
        await asyncio.sleep(60)

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        said: list[str] = []
        async with beside(goes_on(), broken=lambda: said.append("broken")):
            await asyncio.sleep(0)
        assert not said
        with pytest.raises(asyncio.CancelledError):
            async with beside(goes_on(), cancelled(), broken=lambda: said.append("broken")):
                await asyncio.sleep(0.01)
        assert said == ["broken"]

    asyncio.run(main())


def test_a_loop_that_ends_with_its_worker_calls_nothing_broken(caplog: pytest.LogCaptureFixture) -> None:
    app = Procession("memory://", namespace="ends")

    @app.job(name="job", queue="q")
    async def job() -> None: ...

    async def main() -> None:
        task = asyncio.ensure_future(QueueWorker(app).run())
        await (await job.enqueue_async()).wait_async(15)
        assert not task.done()  # and the program ends without another word to it

    asyncio.run(main())
    assert "broken" not in caplog.text
