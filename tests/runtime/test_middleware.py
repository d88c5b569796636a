"""Layers around enqueues and runs: their order, their threads, what they may change, and what they cost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from procession import (
    Call,
    ConfigError,
    CurrentJob,
    DuplicateJob,
    JobHandle,
    Middleware,
    Procession,
    Retry,
    State,
    constant,
)
from tests.runtime.working import working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, retry=Retry(attempts=2, backoff=constant(0.01)))


class Noted(Middleware):
    """Writes down what it encloses."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
        self.notes.append(f"{self.name}: enqueue {call.registered.name}")
        try:
            handle = yield call
        except Exception as error:
            self.notes.append(f"{self.name}: {type(error).__name__}")
            raise
        self.notes.append(f"{self.name}: stored {handle.duplicate}")

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        self.notes.append(f"{self.name}: perform {job.name} {dict(job.arguments)}")
        try:
            result = yield
        except Exception as error:
            self.notes.append(f"{self.name}: {error}")
            raise
        self.notes.append(f"{self.name}: returned {result}")


def test_layers_enclose_an_enqueue_and_a_run_the_first_outermost(app: Procession) -> None:
    notes: list[str] = []
    app.use(Noted("outer", notes), Noted("inner", notes))

    @app.job(name="double")
    async def double(n: int) -> int:
        return n * 2

    async def main() -> None:
        handle = await double.enqueue_async(3)
        assert notes == ["outer: enqueue double", "inner: enqueue double", "inner: stored False", "outer: stored False"]
        notes.clear()
        async with working(app):
            assert await handle.result_async(20) == 6
        assert notes == [
            "outer: perform double {'n': 3}",
            "inner: perform double {'n': 3}",
            "inner: returned 6",
            "outer: returned 6",
        ]

    asyncio.run(main())


def test_one_text_serves_threads_and_the_loop(app: Procession) -> None:
    threads: dict[str, str] = {}

    class Where(Middleware):
        def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
            threads[job.name] = threading.current_thread().name
            result = yield
            return result + 1

    app.use(Where())

    @app.job(name="sync")
    def sync() -> int:
        assert threads["sync"] == threading.current_thread().name
        return 1

    @app.job(name="async")
    async def coroutine() -> int:
        return 10

    async def main() -> None:
        async with working(app):
            assert await sync.enqueue().result_async(20) == 2
            assert await coroutine.enqueue().result_async(20) == 11

    asyncio.run(main())
    assert threads["async"] == "MainThread" != threads["sync"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_layer_raises_is_the_outcome_and_what_it_catches_is_gone(app: Procession, kind: str) -> None:
    class Fate(Middleware):
        def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
            if job.arguments["what"] == "refused":
                raise PermissionError("not you")
            try:
                return (yield)
            except KeyError:
                return "caught"

    app.use(Fate())
    if kind == "sync":

        @app.job(name="j", retry=False)
        def job(what: str) -> str:
            raise {"caught": KeyError, "stop": StopIteration}[what](what)
    else:

        @app.job(name="j", retry=False)
        async def job(what: str) -> str:
            raise {"caught": KeyError, "other": ValueError}[what](what)

    async def main() -> None:
        async with working(app):
            assert await job.enqueue("caught").result_async(20) == "caught"
            refused = await job.enqueue("refused").wait_async(20)
            assert (refused.state, refused.error) == (State.FAILED, "PermissionError: not you")
            other = "stop" if kind == "sync" else "other"
            found = await job.enqueue(other).wait_async(20)
            assert found.error == f"{'StopIteration' if kind == 'sync' else 'ValueError'}: {other}"

    asyncio.run(main())


def test_a_layer_that_has_to_await_encloses_async_jobs(app: Procession) -> None:
    class Awaiting(Middleware):
        async def perform_async(self, job: CurrentJob, following: Callable[[], Awaitable[Any]]) -> Any:
            await asyncio.sleep(0)
            return [await following(), job.jid.version]

    app.use(Awaiting())

    @app.job(name="j")
    async def job() -> Any:
        return 1

    async def main() -> None:
        async with working(app):
            assert await job.enqueue().result_async(20) == [1, 7]

    asyncio.run(main())


def test_a_layer_changes_what_is_enqueued(app: Procession) -> None:
    class Urgent(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            yield msgspec.structs.replace(call, options={**call.options, "priority": 9, "tags": ["urgent"]})

    app.use(Urgent())

    @app.job(name="j")
    def job(n: int) -> None: ...

    alone = job.enqueue(1).job()
    assert (alone.priority, alone.tags, alone.queue) == (9, ("urgent",), "default")
    several = [it.job() for it in app.enqueue_many(job.bind(n) for n in range(3))]
    assert [(it.priority, it.args["n"]) for it in several] == [(9, 0), (9, 1), (9, 2)]
    assert app.enqueue("other", job, 4).job().queue == "other"


def test_a_layer_refuses_an_enqueue_and_the_outer_ones_hear_of_it(app: Procession) -> None:
    notes: list[str] = []

    class Closed(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            raise PermissionError("closed today")
            yield call

    app.use(Noted("outer", notes), Closed())

    @app.job(name="j")
    def job() -> None: ...

    with pytest.raises(PermissionError, match="closed today"):
        job.enqueue()
    with pytest.raises(PermissionError, match="closed today"):
        asyncio.run(job.enqueue_async())
    assert notes == ["outer: enqueue j", "outer: PermissionError"] * 2
    assert app.stats().scheduled == 0


def test_what_led_to_a_refusal_stays_with_its_error(app: Procession) -> None:
    class Translating(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            try:
                yield call
            except PermissionError as error:
                raise RuntimeError("closed") from error.__cause__

    class Closed(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            try:
                raise KeyError("no such tenant")
            except KeyError as error:
                raise PermissionError("closed") from error
            yield call

    @app.job(name="j")
    def job() -> None: ...

    app.use(Closed())
    with pytest.raises(PermissionError, match="closed") as refused:
        job.enqueue()
    assert isinstance(refused.value.__cause__, KeyError)

    app.registry.policies.middleware.insert(0, Translating())
    app.registry.policies_changed()
    with pytest.raises(RuntimeError, match="closed") as replaced:
        job.enqueue()
    assert isinstance(replaced.value.__cause__, KeyError)


def test_of_many_calls_each_tells_its_layers_and_handlers_what_became_of_itself(app: Procession) -> None:
    notes: list[str] = []
    events: list[UUID] = []

    @app.job(name="j", unique="{key}", conflict="raise")
    def job(key: str) -> None: ...

    class Picky(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            yield call
            if b"odd" in call.arguments:
                raise RuntimeError("stored all the same")

    held = job.enqueue("held")
    app.use(Noted("outer", notes), Picky())
    app.on("enqueued")(lambda event: events.append(event.jid))

    with pytest.raises(DuplicateJob) as refused:
        app.enqueue_many(job.bind(key) for key in ("a", "held", "b"))
    assert refused.value.jid == held.jid
    assert notes[3:] == ["outer: stored False", "outer: DuplicateJob", "outer: stored False"]

    notes.clear()
    with pytest.raises(RuntimeError, match="stored all the same"):
        asyncio.run(app.enqueue_many_async(job.bind(key) for key in ("c", "odd", "d")))
    assert notes[3:] == ["outer: stored False", "outer: RuntimeError", "outer: stored False"]
    assert {*events} == {it.jid for it in app.jobs("queued").jobs} - {held.jid}
    assert len(events) == 5


def test_layers_hear_that_the_store_is_away(namespace: str) -> None:
    app = Procession("redis://127.0.0.1:1", namespace=namespace, budget=0.2)
    notes: list[str] = []
    app.use(Noted("it", notes))

    @app.job(name="j")
    def job() -> None: ...

    with pytest.raises(Exception, match="nothing was stored"):
        job.enqueue()
    assert notes == ["it: enqueue j", "it: EnqueueError"]


def test_a_layer_that_does_not_yield_once_is_told_so(app: Procession) -> None:
    class Never(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            if call.registered.name == "nobody":
                yield call

    class Twice(Middleware):
        def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
            yield
            yield

    @app.job(name="j", retry=False)
    def job() -> None: ...

    handle = job.enqueue()
    app.use(Never(), Twice())
    with pytest.raises(ConfigError, match="ended without a yield"):
        job.enqueue()
    with pytest.raises(ConfigError, match="is no middleware"):
        app.use(Twice)  # type: ignore[arg-type]

    async def main() -> None:
        async with working(app):
            assert "yielded twice" in str((await handle.wait_async(20)).error)

    asyncio.run(main())


def test_a_layer_that_is_no_generator_or_yields_no_call_is_told_so(app: Procession) -> None:
    class Forgetful(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            yield  # type: ignore[misc]

    class Plain(Middleware):
        def enqueue(self, call: Call[Any]) -> None:  # type: ignore[override]
            pass

        def perform(self, job: CurrentJob) -> None:  # type: ignore[override]
            pass

    @app.job(name="j", retry=False)
    def job() -> None: ...

    handle = job.enqueue()
    for layer, message in ((Forgetful(), "yielded None; yield the call"), (Plain(), r"Plain\.enqueue is no generator")):
        app.registry.policies.middleware[:] = [layer]
        app.registry.policies_changed()
        with pytest.raises(ConfigError, match=message):
            job.enqueue()

    async def main() -> None:
        async with working(app):
            assert "perform is no generator" in str((await handle.wait_async(20)).error)

    asyncio.run(main())


def test_without_layers_nothing_stands_between_worker_and_job(app: Procession) -> None:
    @app.job(name="j")
    def job() -> None: ...

    def performed() -> Any:
        found = app.registry.performing("j", "default")
        return found and found[0]

    assert performed() is app.registry.get("j")

    class Enqueues(Middleware):
        def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
            yield call

    app.use(Enqueues())
    assert performed() is app.registry.get("j")
