"""Parameters that a run fills, and resources that a process keeps: provided, shared in a run, closed in any case."""

# ruff: noqa: B008  # a call as a default is the very thing under test

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from procession import BadArguments, ConfigError, Depends, Procession, ResultPending, State, Worker, current_job
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, retry=False)


NOTES: list[str] = []


@pytest.fixture(autouse=True)
def fresh_notes() -> None:
    NOTES.clear()


def settings() -> dict[str, str]:
    NOTES.append("settings")
    return {"url": "db"}


def session(config: dict[str, str] = Depends(settings)) -> Iterator[str]:
    NOTES.append(f"open {config['url']} for {current_job().name}")
    try:
        yield f"session of {config['url']}"
    except Exception as error:
        NOTES.append(f"roll back: {error}")
        raise
    else:
        NOTES.append("commit")
    finally:
        NOTES.append("close")


async def client(config: dict[str, str] = Depends(settings)) -> AsyncIterator[str]:
    await asyncio.sleep(0)
    yield f"client of {config['url']}"
    await asyncio.sleep(0)
    NOTES.append("client closed")


async def token() -> str:
    await asyncio.sleep(0)
    return "token"


def run(app: Procession, *calls: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with working(app):
            return [await handle.wait_async(20) for handle in app.enqueue_many(calls)]

    return asyncio.run(main())


def test_a_def_job_gets_what_it_depends_on(app: Procession) -> None:
    @app.job(name="j")
    def job(to: str, db: str = Depends(session), copies: int = 1, *, config: Any = Depends(settings)) -> list[Any]:
        return [to, db, copies, config["url"]]

    (plain, more) = run(app, job.bind("ada"), job.bind("bob", 3))
    assert bytes(plain.result) == b'["ada","session of db",1,"db"]'
    assert bytes(more.result) == b'["bob","session of db",3,"db"]'
    assert plain.args == {"to": "ada"}
    assert sorted(NOTES) == sorted(2 * ["settings", "open db for j", "commit", "close"])


def test_an_async_job_gets_what_is_awaited(app: Procession) -> None:
    @app.job(name="j")
    async def job(n: int, http: str = Depends(client), db: str = Depends(session), key: str = Depends(token)) -> Any:
        return [n, http, db, key]

    (done,) = run(app, job.bind(1))
    assert bytes(done.result) == b'[1,"client of db","session of db","token"]'
    assert NOTES == ["settings", "open db for j", "commit", "close", "client closed"]


def test_a_worker_class_gets_them_too(app: Procession) -> None:
    class Send(Worker):
        def perform(self, to: str, db: str = Depends(session)) -> str:
            return f"{to}: {db}"

    app.worker(Send, name="send")
    (done,) = run(app, app.caller(Send).bind("ada"))
    assert bytes(done.result) == b'"ada: session of db"'


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_provider_hears_of_the_error_of_its_run_and_cannot_hide_it(app: Procession, kind: str) -> None:
    def hiding() -> Iterator[int]:
        try:
            yield 1
        except ValueError:
            NOTES.append("hidden")

    if kind == "sync":

        @app.job(name="j")
        def job(db: str = Depends(session), n: int = Depends(hiding)) -> None:
            raise ValueError("no")
    else:

        @app.job(name="j")
        async def job(db: str = Depends(session), n: int = Depends(hiding)) -> None:
            raise ValueError("no")

    (done,) = run(app, job.bind())
    assert (done.state, done.error) == (State.FAILED, "ValueError: no")
    assert NOTES[2] == "hidden"
    assert NOTES[-1] == "close"


def test_a_provider_that_raises_fails_the_run_and_closes_what_was_open(app: Procession) -> None:
    def broken(db: str = Depends(session)) -> str:
        raise ConnectionError("no database")

    @app.job(name="j")
    def job(it: str = Depends(broken)) -> None: ...

    (done,) = run(app, job.bind())
    assert done.error == "ConnectionError: no database"
    assert NOTES[-2:] == ["roll back: no database", "close"]


def test_a_dependency_is_no_argument_of_the_call(app: Procession) -> None:
    @app.job(name="j")
    def job(to: str, db: str = Depends(session)) -> None: ...

    with pytest.raises(BadArguments, match="db"):
        job.bind("ada", db="mine")
    with pytest.raises(BadArguments, match="too many"):
        job.bind("ada", "mine")


def test_a_stand_in_takes_the_place_of_a_provider(app: Procession) -> None:
    @app.job(name="j")
    def job(db: str = Depends(session)) -> str:
        return db

    app.replace(settings, lambda: {"url": "fake"})
    assert bytes(run(app, job.bind())[0].result) == b'"session of fake"'
    app.replace(settings, None)
    assert bytes(run(app, job.bind())[0].result) == b'"session of db"'


def test_what_no_run_could_fill_is_refused_where_it_is_written(app: Procession) -> None:
    def asks(n: int) -> int:
        return n

    with pytest.raises(ConfigError, match="nothing can await token"):

        @app.job(name="a")
        def a(it: str = Depends(token)) -> None: ...

    with pytest.raises(ConfigError, match="nobody gives n a value"):

        @app.job(name="b")
        def b(it: str = Depends(asks)) -> None: ...

    with pytest.raises(ConfigError, match="behind the"):

        @app.job(name="c")
        def c(it: str = Depends(settings), /) -> None: ...

    with pytest.raises(ConfigError, match="pass a function"):
        Depends(3)  # type: ignore[arg-type]


def test_resources_are_opened_before_the_first_job_and_closed_after_the_last(app: Procession) -> None:
    @app.lifespan
    async def pool(its: Procession) -> AsyncIterator[dict[str, Any]]:
        assert its is app
        NOTES.append("pool opened")
        yield {"pool": ["connection"]}
        NOTES.append("pool closed")

    @app.lifespan
    def model(its: Procession) -> Iterator[dict[str, Any]]:
        yield {"model": "weights"}
        NOTES.append("model closed")

    def connection(pool: list[str] = Depends("pool")) -> str:
        return pool[0]

    @app.job(name="sync")
    def sync(it: str = Depends(connection), model: str = Depends("model")) -> str:
        NOTES.append("job")
        return f"{it} {model}"

    @app.job(name="async")
    async def coroutine(it: str = Depends(connection)) -> str:
        return it

    @app.job(name="missing")
    async def missing(it: str = Depends("cache")) -> None: ...

    one, two, three = run(app, sync.bind(), coroutine.bind(), missing.bind())
    assert (bytes(one.result), bytes(two.result)) == (b'"connection weights"', b'"connection"')
    assert "no lifespan of the app has yielded a resource of this name" in three.error
    assert NOTES == ["pool opened", "job", "model closed", "pool closed"]
    assert dict(app.registry.policies.lifespan.resources) == {}


def test_a_worker_whose_resources_cannot_be_opened_does_not_begin(app: Procession) -> None:
    @app.lifespan
    async def pool(its: Procession) -> AsyncIterator[dict[str, Any]]:
        raise ConnectionError("no database")
        yield {}

    @app.job(name="j")
    async def job() -> None: ...

    handle = job.enqueue()

    async def main() -> None:
        async with working(app):
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError, match="no database"):
        asyncio.run(main())
    assert handle.job().state is State.QUEUED
    app.close()


@pytest.mark.parametrize("at_first", ["well", "badly"])
def test_a_worker_that_begins_while_another_opens_the_resources_waits_for_them(app: Procession, at_first: str) -> None:
    goes_on = asyncio.Event()

    @app.lifespan
    async def pool(its: Procession) -> AsyncIterator[dict[str, Any]]:
        NOTES.append("opening")
        await goes_on.wait()
        if at_first == "badly" and NOTES == ["opening"]:
            raise ConnectionError("not yet")
        yield {"pool": "open"}
        NOTES.append("closed")

    @app.job(name="j")
    async def job(it: str = Depends("pool")) -> str:
        return it

    async def main() -> None:
        handle = job.enqueue()
        first, second = QueueWorker(app), QueueWorker(app)
        running = [asyncio.ensure_future(it.run()) for it in (first, second)]
        with pytest.raises(ResultPending):
            await handle.result_async(0.3)
        goes_on.set()
        assert await handle.result_async(20) == "open"
        second.stop()
        await running[1]
        first.stop()
        await asyncio.gather(running[0], return_exceptions=at_first == "badly")
        await app.close_async()

    asyncio.run(main())
    assert ["opening"] * (1 if at_first == "well" else 2) + ["closed"] == NOTES
    app.close()


def test_a_worker_that_is_stopped_while_its_resources_open_waits_for_them_no_longer(app: Procession) -> None:
    begun, tidied = asyncio.Event(), asyncio.Event()

    @app.lifespan
    async def opens_for_ever(app: Procession) -> AsyncIterator[None]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            tidied.set()
        yield

    async def main() -> None:
        worker = QueueWorker(app, queues=["q"])
        running = asyncio.ensure_future(worker.run())
        await begun.wait()
        worker.stop()
        async with asyncio.timeout(10):
            await running
        assert tidied.is_set()
        await app.close_async()

    asyncio.run(main())
    app.close()


def test_lifespans_that_cannot_be_told_apart_are_refused() -> None:
    app = Procession("memory://refused")

    @app.lifespan
    def one(its: Procession) -> Iterator[dict[str, Any]]:
        yield {"pool": 1}

    app.lifespan(one)

    async def opened() -> None:
        async with app.registry.policies.lifespan.opened(app):
            pass

    with pytest.raises(ConfigError, match="another lifespan"):
        asyncio.run(opened())
    with pytest.raises(ConfigError, match="must be a generator"):
        app.lifespan(dict)
