"""Which policy a failed run meets, what errors and hooks say about the wait, and who hears of the last failure."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from procession import ConfigError, Fail, Failure, Job, Procession, Retry, State, Worker, constant, current_job
from procession.job import FINAL
from procession.runtime import loop_executor
from tests.runtime.working import until, working

QUICK = Retry(attempts=2, backoff=constant(0.01))


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, retry=QUICK)


async def ended(app: Procession, handle: Any) -> Job:
    async with working(app):
        return await handle.wait_async(20)


def test_the_nearest_of_job_queue_and_app_says_how_often(app: Procession) -> None:
    app.queue_options("billing", retry=Retry(attempts=3, backoff=constant(0.01)))

    @app.job(name="plain")
    async def plain() -> None:
        raise ValueError

    @app.job(name="billing", queue="billing")
    async def billing() -> None:
        raise ValueError

    @app.job(name="own", queue="billing", retry=False)
    async def own() -> None:
        raise ValueError

    async def main() -> None:
        async with working(app):
            found = [await handle.wait_async(20) for handle in (plain.enqueue(), billing.enqueue(), own.enqueue())]
            assert [job.attempt for job in found] == [2, 3, 1]
            moved = await plain.using(queue="billing").enqueue().wait_async(20)
            assert moved.attempt == 3
            app.queue_options("billing", retry=1)  # what is said later holds for what begins then
            moved = await plain.using(queue="billing").enqueue().wait_async(20)
            assert moved.attempt == 1

    asyncio.run(main())


def test_an_error_that_is_never_retried_may_be_one_that_is_no_exception(app: Procession) -> None:
    @app.job(name="j", retry=Retry(attempts=5, never=(SystemExit,)))
    def job() -> None:
        sys.exit("for good")

    found = asyncio.run(ended(app, job.enqueue()))
    assert (found.state, found.reason, found.attempt) == (State.FAILED, "not retryable", 1)


def test_an_unusable_policy_of_a_queue_is_refused() -> None:
    app = Procession("memory://refused")
    with pytest.raises(ConfigError, match="attempts=0"):
        app.queue_options("billing", retry=0)
    with pytest.raises(ConfigError, match="final state"):
        app.queue_options("failed", retry=3)


class TooMany(Exception):
    retry_after = 3_600


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_job_waits_as_long_as_its_error_asks(app: Procession, kind: str) -> None:
    if kind == "sync":

        @app.job(name="j", timeout=60)
        def job() -> None:
            raise TooMany
    else:

        @app.job(name="j", timeout=60)
        async def job() -> None:
            raise TooMany

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            found = await until(lambda: (it := handle.job()).state is State.DELAYED and it)
            assert 3_590_000 <= found.due_at - found.enqueued_at <= 3_980_000

    asyncio.run(main())


class Awkward(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("no answer")


class Asked(Exception, metaclass=Awkward):
    pass


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "policy",
    [{"backoff": lambda n: n / 0}, {"backoff": lambda _: "soon"}, {"on": Asked}],
    ids=["raises", "no number", "cannot be asked"],
)
def test_a_policy_that_raises_gives_way_to_the_default(
    app: Procession, caplog: pytest.LogCaptureFixture, policy: Any, kind: str
) -> None:
    if kind == "sync":

        @app.job(name="j", retry=Retry(attempts=2, **policy))
        def job() -> None:
            raise LookupError("once more")
    else:

        @app.job(name="j", retry=Retry(attempts=2, **policy))
        async def job() -> None:
            raise LookupError("once more")

    found = asyncio.run(ended(app, job.enqueue()))
    assert (found.attempt, found.error) == (2, "LookupError: once more")
    assert caplog.text.count("its retry policy is of no use; the default is taken") == 1


class Patient(Worker):
    said: ClassVar[list[tuple[int, str]]] = []
    failures: ClassVar[list[tuple[Failure, dict[str, Any], int]]] = []

    def perform(self, what: str) -> None:
        if what == "fail":
            raise Fail("for good")
        raise LookupError(what)

    def backoff(self, attempt: int, error: BaseException) -> str | None:
        self.said.append((attempt, str(error)))
        if str(error) == "nonsense":
            return "a while"
        return "1h" if str(error) == "long" else None

    def exhausted(self, failure: Failure) -> None:
        self.failures.append((failure, dict(current_job().arguments), current_job().attempt))


def test_a_worker_class_says_itself_how_long_to_wait(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    app.worker(Patient, name="patient")
    Patient.said.clear()

    async def main() -> None:
        async with working(app):
            long = app.enqueue("default", Patient, "long")
            found = await until(lambda: (it := long.job()).state is State.DELAYED and it)
            assert 3_600_000 <= found.due_at - found.enqueued_at <= 3_660_000
            assert Patient.said == [(1, "long")]
            job = await app.enqueue("default", Patient, "nonsense").wait_async(20)
            assert (job.state, job.attempt) == (State.FAILED, 2)

    asyncio.run(main())
    assert "its backoff() is of no use" in caplog.text


def test_a_worker_class_hears_of_the_last_failure_once(app: Procession) -> None:
    app.worker(Patient, name="patient")
    Patient.failures.clear()

    async def main() -> None:
        async with working(app):
            await app.enqueue("default", Patient, "x").wait_async(20)
            await app.enqueue("default", Patient, "fail").wait_async(20)

    asyncio.run(main())
    seen = [(it.type, it.message, arguments["what"], attempt) for it, arguments, attempt in Patient.failures]
    assert seen == [("LookupError", "x", "x", 2), ("Fail", "for good", "fail", 1)]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_has_its_last_failure_heard_where_it_ran(app: Procession, kind: str) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []

    async def await_it(failure: Failure) -> None:
        await asyncio.sleep(0)
        heard.append((failure.type, dict(current_job().arguments)))

    if kind == "sync":

        @app.job(name="j", on_exhausted=lambda failure: heard.append((failure.type, dict(current_job().arguments))))
        def job(order: int) -> None:
            raise KeyError(order)
    else:

        @app.job(name="j", on_exhausted=await_it)
        async def job(order: int) -> None:
            raise KeyError(order)

    assert asyncio.run(ended(app, job.enqueue(7))).state is State.FAILED
    assert heard == [("KeyError", {"order": 7})]


@pytest.mark.parametrize("ends", ["returns", "raises"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_hook_of_a_run_that_does_not_stop_is_called_when_it_is_given_up_and_only_then(
    app: Procession, monkeypatch: pytest.MonkeyPatch, kind: str, ends: str
) -> None:
    monkeypatch.setattr(loop_executor, "CANCEL_GRACE", 0.1)
    let_go, over = threading.Event(), threading.Event()
    heard: list[tuple[str, dict[str, object]]] = []

    def hook(failure: Failure) -> None:
        assert not over.is_set()
        heard.append((failure.type, dict(current_job().arguments)))

    async def hook_async(failure: Failure) -> None:
        hook(failure)

    def end() -> None:
        over.set()
        if ends == "raises":
            raise ValueError("too late")

    if kind == "sync":

        @app.job(name="j", retry=False, timeout=0.05, on_exhausted=hook)
        def job(to: str) -> None:
            let_go.wait(20)
            end()
    else:

        @app.job(name="j", retry=False, timeout=0.05, on_exhausted=hook_async)
        async def job(to: str) -> None:
            while not let_go.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            end()

    async def main() -> None:
        async with working(app) as worker:
            found = await job.enqueue("ada").wait_async(20)
            assert (found.state, found.error) == (State.FAILED, "JobTimeout: ran longer than its timeout of 0.05 s")
            await until(lambda: heard)
            let_go.set()
            await until(lambda: over.is_set() and not worker._performer._tasks._tasks and not worker._performer.lost)

    asyncio.run(main())
    assert heard == [("JobTimeout", {"to": "ada"})]


def test_a_hook_that_raises_changes_nothing(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    def angry(failure: Failure) -> None:
        raise RuntimeError("no")

    @app.job(name="j", retry=False, on_exhausted=angry)
    async def job() -> None:
        raise KeyError("the reason")

    with caplog.at_level(logging.ERROR):
        found = asyncio.run(ended(app, job.enqueue()))
    assert (found.state, found.reason, found.error) == (State.FAILED, "no retry", "KeyError: 'the reason'")
    assert "its hook for the last failure raised" in caplog.text


def test_hooks_that_nobody_could_await_are_refused() -> None:
    app = Procession("memory://refused")

    class Wrong(Worker):
        def perform(self) -> None: ...

        async def exhausted(self, failure: Failure) -> None: ...

    with pytest.raises(ConfigError, match="plain def"):
        app.worker(Wrong)

    async def hook(failure: Failure) -> None: ...

    with pytest.raises(ConfigError, match="plain def"):
        app.job(name="j", on_exhausted=hook)(lambda: None)


def test_no_hook_is_called_for_a_job_that_succeeds_or_is_tried_again(app: Procession) -> None:
    heard: list[Failure] = []

    @app.job(name="j", retry=QUICK, on_exhausted=heard.append)
    async def job() -> None:
        if current_job().attempt == 1:
            raise ValueError

    assert asyncio.run(ended(app, job.enqueue())).state in FINAL - {State.FAILED}
    assert heard == []
