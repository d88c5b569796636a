"""What jobs say while they run, from the loop, from threads and from job processes: kept per attempt, and bounded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

import msgspec
import pytest

from procession import ConfigError, Procession, Progress, Retry, State, constant, current_job, track
from procession.notebook import Notebook
from procession.runtime.capture import capturing
from tests.runtime import heavy
from tests.runtime.working import until, working

log = logging.getLogger("shop")


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=5.0)


@pytest.fixture(autouse=True)
def loggers_let_info_pass(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def texts(app: Procession, jid: object, **options: int) -> list[str]:
    return [line.text for line in app.log(str(jid), **options)]


def test_jobs_that_run_side_by_side_each_keep_their_own_lines(app: Procession) -> None:
    meet = threading.Barrier(2)

    @app.job(name="sync")
    def sync(word: str) -> None:
        meet.wait(10)
        log.info("%s begins", word)
        current_job().log.warning("%s ends", word)

    @app.job(name="coroutine")
    async def coroutine(word: str) -> None:
        async def child() -> None:
            await asyncio.to_thread(log.info, "%s in a thread", word)

        await asyncio.gather(child(), asyncio.sleep(0))
        log.info("%s ends", word)

    async def main() -> None:
        async with working(app):
            handles = [job.enqueue(word) for job in (sync, coroutine) for word in ("a", "b")]
            for handle in handles:
                assert (await handle.wait_async(15)).state is State.PROCESSED
        for handle, word in zip(handles[:2], "ab", strict=True):
            assert texts(app, handle.jid) == [f"{word} begins", f"{word} ends"]
        for handle, word in zip(handles[2:], "ab", strict=True):
            assert texts(app, handle.jid) == [f"{word} in a thread", f"{word} ends"]
        first, second = app.log(handles[0].jid)
        assert (first.level, first.logger, first.attempt) == ("INFO", "shop", 1)
        assert (second.level, second.logger) == ("WARNING", "procession.job.sync")
        app.close()

    asyncio.run(main())


def test_each_attempt_has_its_lines_with_the_traceback_that_was_logged(app: Procession) -> None:
    @app.job(name="j", retry=Retry(attempts=2, backoff=constant(0.01)))
    def job() -> None:
        try:
            raise KeyError(current_job().attempt)
        except KeyError:
            log.exception("no such thing")
            raise

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            assert (await handle.wait_async(15)).state is State.FAILED
        assert [line.attempt for line in app.log(handle.jid)] == [1, 2]
        (second,) = app.log(handle.jid, attempt=2)
        assert second.text.startswith("no such thing\nTraceback")
        assert second.text.endswith("KeyError: 2")
        assert (await app.log_async(handle.jid, after=second.index)) == []
        await app.close_async()
        app.close()

    asyncio.run(main())


def test_what_a_running_job_says_is_read_while_it_runs(app: Procession) -> None:
    go = threading.Event()

    @app.job(name="j")
    def job() -> None:
        log.info("half way")
        current_job().progress(0.5, "half")
        go.wait(20)
        current_job().progress(0.9)
        current_job().progress(1.0, "done")

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            await until(lambda: texts(app, handle.jid) == ["half way"])
            running = handle.job()
            assert running.state is State.RUNNING
            assert running.progress is not None
            assert (running.progress.part, running.progress.text) == (0.5, "half")
            go.set()
            done = await handle.wait_async(15)
            assert done.progress is not None
            assert (done.progress.part, done.progress.text) == (1.0, "done")
            assert done.progress.at >= running.progress.at > 0

    asyncio.run(main())


def test_of_many_lines_the_first_and_the_newest_are_kept_and_those_between_counted(app: Procession) -> None:
    @app.job(name="j")
    def job() -> None:
        for number in range(1_000):
            log.info("%d", number)

    @app.job(name="large")
    def large() -> None:
        for _ in range(100):
            log.info("x" * 10_000)

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            await handle.wait_async(15)
            between = ["500 lines were left out"]
            assert texts(app, handle.jid) == [*map(str, range(400)), *between, *map(str, range(900, 1_000))]
            handle = large.enqueue()
            await handle.wait_async(15)
            kept = texts(app, handle.jid)
            assert sum(map(len, kept)) <= 64 * 1024
            assert max(map(len, kept)) == 4_000

    asyncio.run(main())


def test_a_last_line_too_large_for_its_place_is_counted_as_left_out_and_its_job_ends(app: Procession) -> None:
    binary = "\0" * 4_000  # six bytes each in JSON, so that one line takes more than the newest may

    @app.job(name="coroutine")
    async def coroutine() -> None:
        for _ in range(4):
            log.info(binary)

    @app.job(name="thread")
    def thread() -> None:
        for _ in range(4):
            log.info(binary)

    async def main() -> None:
        async with working(app):
            for job in (coroutine, thread):
                handle = job.enqueue()
                assert (await handle.wait_async(15)).state is State.PROCESSED
                assert texts(app, handle.jid) == [binary, binary, "2 lines were left out"]

    asyncio.run(main())


def test_lines_below_the_level_are_not_kept_and_a_job_that_says_nothing_has_no_notebook(app: Procession) -> None:
    seen = []

    @app.job(name="j")
    async def job() -> None:
        log.debug("never")
        logging.getLogger("procession.worker").warning("of the worker")
        seen.append(current_job())

    async def main() -> None:
        async with working(app, verbose=True):
            handle = job.enqueue()
            await handle.wait_async(15)
            assert texts(app, handle.jid) == []
            assert seen[0].notebook is None

    asyncio.run(main())


@pytest.mark.parametrize(("level", "kept"), [("OFF", []), ("ERROR", ["bad"])])
def test_the_setting_says_which_lines_are_kept(namespace: str, level: str, kept: list[str]) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace, capture_logs=level)

    @app.job(name="j")
    async def job() -> None:
        log.info("good")
        log.error("bad")
        current_job().progress(0.1)

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            found = await handle.wait_async(15)
            assert texts(app, handle.jid) == kept
            assert found.progress is not None

    asyncio.run(main())
    with pytest.raises(ConfigError, match="capture_logs='LOUD'"):
        Procession(f"memory://{namespace}", capture_logs="LOUD")


def test_what_a_stopped_run_still_says_counts_no_more(app: Procession) -> None:
    go, gone = threading.Event(), threading.Event()

    @app.job(name="j", timeout=0.1, retry=False)
    def job() -> None:
        log.info("before")
        go.wait(20)
        log.info("after")
        current_job().progress(1.0)
        gone.set()

    async def main() -> None:
        async with working(app):
            handle = job.enqueue()
            found = await handle.wait_async(15)
            assert found.state is State.FAILED
            go.set()
            await until(gone.is_set)
            await job.enqueue().wait_async(15)
            assert texts(app, handle.jid) == ["before"]
            assert handle.job().progress is None

    asyncio.run(main())


def test_track_reports_each_item_and_outside_a_job_only_goes_through_them(app: Procession) -> None:
    @app.job(name="j")
    def job() -> list[int]:
        return [*track([3, 4, 5], text="rows")]

    @app.job(name="unknown")
    def unknown() -> int:
        return sum(track(iter([3, 4])))

    async def main() -> None:
        async with working(app):
            done = await job.enqueue().wait_async(15)
            assert done.progress == Progress(1.0, "rows 3/3", done.progress.at if done.progress else 0)
            done = await unknown.enqueue().wait_async(15)
            assert done.progress == Progress(None, "2", done.progress.at if done.progress else 0)

    asyncio.run(main())
    assert [*track("ab")] == ["a", "b"]
    assert [*islice(track(range(10**30)), 2)] == [0, 1]


@pytest.mark.parametrize(("part", "kept"), [(10**400, 1.0), (-(10**400), 0.0), (Decimal("0.5"), 0.5), (True, 1.0)])
def test_progress_is_a_number_of_any_kind_and_size(part: Any, kept: float) -> None:
    notebook = Notebook(1)
    notebook.report(part, "")
    assert msgspec.json.decode(notebook.fetch().progress)["part"] == kept


@pytest.mark.parametrize("part", [float("nan"), float("inf"), Decimal("sNaN"), Fraction(10**400), "half", "0.5", 1j])
def test_progress_that_is_no_number_is_an_error_of_the_attempt(namespace: str, part: object) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace)

    @app.job(name="j", retry=False)
    def job() -> None:
        current_job().progress(7)
        current_job().progress(part)  # type: ignore[arg-type]

    async def main() -> None:
        async with working(app):
            done = await job.enqueue().wait_async(15)
            assert "from 0 to 1" in (done.error or "")
            assert done.progress is not None
            assert done.progress.part == 1.0

    asyncio.run(main())


@pytest.fixture
def heavy_is_left_empty() -> Iterator[None]:
    yield
    heavy.app.flush(confirm="heavy")


@pytest.mark.usefixtures("heavy_is_left_empty")
def test_a_job_process_sends_lines_and_progress_while_it_runs_and_its_last_words_before_its_end() -> None:
    async def main() -> None:
        async with working(heavy.app):
            for job in (heavy.says, heavy.says_async):
                handle = job.enqueue()
                await until(lambda handle=handle: texts(heavy.app, handle.jid) == ["begins"])
                assert handle.job().state is State.RUNNING
                progress = handle.job().progress
                assert progress is not None
                assert progress.part == 0.5
                handle.cancel()
                done = await handle.wait_async(15)
                assert done.state is State.CANCELLED
                assert texts(heavy.app, handle.jid) == ["begins", "ends"]
            quick = heavy.says.enqueue(wait=False)
            assert (await quick.wait_async(15)).state is State.PROCESSED
            assert texts(heavy.app, quick.jid) == ["begins", "ends"]

    asyncio.run(main())


def test_of_two_workers_in_one_process_each_line_is_kept_once(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace)

    @app.job(name="j", queue="q")
    async def job() -> None:
        log.warning("hello")

    app.job(lambda: None, name="other", queue="r")

    async def main() -> None:
        async with working(app, queues=["q"]):
            async with working(app, queues=["r"]):
                handle = job.enqueue()
                await handle.wait_async(15)
            after = job.enqueue()
            await after.wait_async(15)
            assert texts(app, handle.jid) == texts(app, after.jid) == ["hello"]

    asyncio.run(main())


def test_several_that_listen_leave_the_root_logger_as_the_first_has_found_it() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    root.setLevel(logging.ERROR)
    first, second = capturing("INFO"), capturing("DEBUG")
    try:
        first.__enter__()
        second.__enter__()
        assert (root.level, len(root.handlers)) == (logging.DEBUG, 1)
        first.__exit__(None, None, None)
        assert (root.level, len(root.handlers)) == (logging.DEBUG, 1)
        second.__exit__(None, None, None)
        assert (root.level, root.handlers) == (logging.ERROR, [])
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_listening_takes_nothing_from_a_program_that_never_set_up_logging(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    root.setLevel(logging.WARNING)
    try:
        with capturing("INFO"):
            assert root.level == logging.INFO
            log.warning("seen as ever")
            log.info("not shown")
        assert (root.level, root.handlers) == (logging.WARNING, [])
        assert capfd.readouterr().err == "seen as ever\n"
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
