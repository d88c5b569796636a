"""What handlers hear of a worker's jobs, and that nothing they do reaches a job."""

from __future__ import annotations

import asyncio
import threading

import pytest

from procession import ConfigError, Discard, Event, Procession, Retry, Snooze, constant
from procession.job import FINAL
from procession.runtime import announcing
from tests.runtime.working import until, working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, retry=Retry(attempts=2, backoff=constant(0.01)))


class Listening:
    def __init__(self, heard: list[Event]) -> None:
        self.heard = heard

    async def __call__(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.heard.append(event)


@pytest.mark.parametrize("handled", ["sync", "async", "object"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_handlers_hear_what_becomes_of_each_run(app: Procession, kind: str, handled: str) -> None:
    heard: list[Event] = []

    if handled == "sync":

        def handler(event: Event) -> None:
            assert threading.current_thread() is not threading.main_thread()
            heard.append(event)
    elif handled == "async":

        async def handler(event: Event) -> None:  # type: ignore[misc]
            await asyncio.sleep(0)
            heard.append(event)
    else:
        handler = Listening(heard)  # type: ignore[assignment]

    for name in ("started", "processed", "failed", "retried", "cancelled"):
        app.on(name)(handler)  # type: ignore[arg-type]

    def fate(what: str) -> None:
        match what:
            case "fail":
                raise ValueError("no")
            case "discard":
                raise Discard("not needed")

    if kind == "sync":

        @app.job(name="j", queue="q")
        def job(what: str) -> None:
            fate(what)
    else:

        @app.job(name="j", queue="q")
        async def job(what: str) -> None:
            fate(what)

    async def main() -> None:
        async with working(app):
            for what in ("work", "fail", "discard"):
                await job.enqueue(what).wait_async(20)
            await until(lambda: len(heard) >= 8)

    asyncio.run(main())
    assert [(it.kind, it.attempt, it.error, it.reason) for it in heard] == [
        ("started", 1, "", ""),
        ("processed", 1, "", ""),
        ("started", 1, "", ""),
        ("retried", 1, "ValueError: no", ""),
        ("started", 2, "", ""),
        ("failed", 2, "ValueError: no", "exhausted"),
        ("started", 1, "", ""),
        ("cancelled", 1, "", "not needed"),
    ]
    assert {(it.name, it.queue) for it in heard} == {("j", "q")}
    assert all(it.seconds > 0 for it in heard if it.kind != "started")


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_handler_that_raises_is_logged_and_changes_nothing(
    app: Procession, kind: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def angry(event: Event) -> None:
        raise error("no")

    async def angry_async(event: Event) -> None:
        raise error("no")

    app.on("processed")(angry if kind == "def" else angry_async)

    @app.on("processed")
    async def next_one(event: Event) -> None:
        heard.append(event.kind)

    @app.job(name="j")
    async def job() -> int:
        return 1

    async def main() -> None:
        async with working(app):
            assert await job.enqueue().result_async(20) == 1
            await until(lambda: heard)

    asyncio.run(main())
    assert "raised at processed" in caplog.text


def test_a_handler_that_is_cancelled_by_what_it_awaits_is_logged_and_changes_nothing(
    app: Procession, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    @app.on("processed")
    async def stray(event: Event) -> None:
        waiting = asyncio.ensure_future(asyncio.sleep(60))
        waiting.cancel()
        await waiting

    @app.on("processed")
    async def next_one(event: Event) -> None:
        heard.append(event.kind)

    @app.job(name="j")
    async def job() -> None: ...

    async def main() -> None:
        async with working(app):
            for _ in range(2):
                await job.enqueue().wait_async(20)
            await until(lambda: len(heard) == 2)

    asyncio.run(main())
    assert caplog.text.count("stray raised at processed") == 2


def test_a_handler_that_goes_on_though_it_is_cancelled_does_not_hold_up_the_end(
    app: Procession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announcing, "FAREWELL", 0.1)
    monkeypatch.setattr(announcing, "CANCEL_GRACE", 0.1)
    cancelled, let_go = asyncio.Event(), asyncio.Event()

    @app.on("processed")
    async def stubborn(event: Event) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                cancelled.set()

    @app.job(name="j")
    async def job() -> None: ...

    async def main() -> None:
        async with working(app):
            for _ in range(2):
                await job.enqueue().wait_async(20)
        assert cancelled.is_set()
        let_go.set()

    asyncio.run(asyncio.wait_for(main(), 20))
    assert "1 events were not told" in caplog.text


def test_a_slow_handler_holds_up_no_job_and_what_waits_is_bounded(
    app: Procession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announcing, "WAITING", 3)
    let_go = threading.Event()
    heard: list[Event] = []

    @app.on("processed")
    def slow(event: Event) -> None:
        let_go.wait(20)
        heard.append(event)

    @app.job(name="j")
    async def job(n: int) -> None: ...

    async def main() -> None:
        async with working(app):
            handles = app.enqueue_many(job.bind(n) for n in range(10))
            for handle in handles:
                assert (await handle.wait_async(20)).state in FINAL
            await until(lambda: "further ones are dropped" in caplog.text)
            let_go.set()
            await until(lambda: len(heard) >= 3)

    asyncio.run(main())
    assert len(heard) <= 4
    assert "events were not told" in caplog.text


def test_enqueued_is_said_by_whoever_enqueues_and_not_for_a_duplicate(
    app: Procession, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    app.on("enqueued")(heard.append)

    @app.on("enqueued")
    def angry(event: Event) -> None:
        raise RuntimeError("no")

    @app.job(name="j", queue="q")
    def job(n: int) -> None: ...

    first = job.enqueue(1)
    assert job.using(jid=first.jid).enqueue(1).duplicate
    several = app.enqueue_many(job.using(queue="other").bind(n) for n in range(2))
    assert [(it.jid, it.queue, it.attempt) for it in heard] == [
        (first.jid, "q", 0),
        *((it.jid, "other", 0) for it in several),
    ]
    assert "angry raised at enqueued" in caplog.text


def test_a_run_that_is_put_off_is_no_event(app: Procession) -> None:
    heard: list[Event] = []
    app.on("retried")(heard.append)
    app.on("processed")(heard.append)
    seen: list[int] = []

    @app.job(name="j")
    async def job() -> None:
        seen.append(1)
        if len(seen) == 1:
            raise Snooze(0.01)

    async def main() -> None:
        async with working(app):
            await job.enqueue().wait_async(20)
            await until(lambda: heard)

    asyncio.run(main())
    assert [it.kind for it in heard] == ["processed"]


def test_what_no_handler_can_hear_is_refused() -> None:
    app = Procession("memory://refused")
    with pytest.raises(ConfigError, match="there are enqueued, started"):
        app.on("finished")  # type: ignore[arg-type]

    async def handler(event: Event) -> None: ...

    for it in (handler, Listening([])):
        with pytest.raises(ConfigError, match="write a def"):
            app.on("enqueued")(it)
