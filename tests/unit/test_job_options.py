"""What a job may ask for where it is defined, and what an attempt makes of its limits."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from procession import ConfigError, JobCancelled, JobTimeout, LeaseLost, Procession, Worker
from procession.clock import monotonic
from procession.config import Settings
from procession.context import CurrentJob, Why
from procession.registry import HOUR, Registered, register
from procession.runtime.executor import limits
from procession.runtime.target import load_app, target_of
from procession.sizes import size


def sync() -> None: ...


async def coroutine() -> None: ...


@pytest.mark.parametrize("spread", [None, "1m"])
def test_what_a_called_job_returned_is_no_call_to_be_enqueued(spread: str | None) -> None:
    app = Procession("memory://called")
    greet = app.job(lambda name: f"hello {name}", name="greet")
    with pytest.raises(ConfigError, match=r"'hello ada' is no bound call: write job.bind"):
        app.enqueue_many([greet("ada")], spread=spread)  # type: ignore[list-item]


def registered(**options: Any) -> Registered:
    return register(sync, **{"executor": "process", **options})


@pytest.mark.parametrize(
    ("job", "options", "says"),
    [
        (sync, {"hard_timeout": 1}, "needs executor='process'"),
        (sync, {"max_memory": "512MB"}, "needs executor='process'"),
        (coroutine, {"hard_timeout": 1, "executor": "loop"}, "needs executor='process'"),
        (coroutine, {"executor": "thread"}, "runs in executor 'loop', or 'process'"),
        (sync, {"executor": "loop"}, "runs in executor 'thread', or 'process'"),
        (sync, {"executor": "fork"}, "must be one of loop, thread, process"),
        (sync, {"executor": "process", "timeout": 2, "hard_timeout": 1}, "the second kills it"),
        (sync, {"executor": "process", "max_memory": "1MB"}, "at least 64MiB"),
        (sync, {"executor": "process", "max_memory": "much"}, "is not a size"),
        (sync, {"executor": "process", "hard_timeout": "long"}, "hard_timeout 'long' is not a duration"),
        (sync, {"aliases": "shop.tidy_up"}, "aliases='shop.tidy_up' must be a list of strings"),
        (sync, {"aliases": [sync]}, "must be a list of strings"),
        (sync, {"name": 5}, "name=5 must be 1 to 200 printable characters"),
        (sync, {"on_exhausted": "mail"}, "'mail' cannot be called"),
        (sync, {"exekutor": "process"}, "unknown option 'exekutor'; known are unique, "),
    ],
)
def test_an_option_that_cannot_be_kept_is_refused(job: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        register(job, **options)


@pytest.mark.parametrize("source", [partial(sync), 5, Settings(), "shop.tidy_up"])
def test_what_is_neither_a_function_nor_a_worker_class_is_refused_with_and_without_a_name(source: Any) -> None:
    for options in ({}, {"name": "tidy_up"}):
        with pytest.raises(ConfigError, match="is neither a function nor a worker class; write a function that calls"):
            register(source, **options)


def test_a_perform_that_is_bound_to_no_instance_takes_all_its_arguments(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace)

    @app.worker
    class Static(Worker):
        @staticmethod
        def perform(path: str, width: int = 80) -> str:
            return f"{path} {width}"

    @app.worker
    class OfClass(Worker):
        @classmethod
        def perform(cls, path: str, width: int = 80) -> str:
            return f"{cls.__name__} {path} {width}"

    for worker_class, says in ((Static, "a.png 9"), (OfClass, "OfClass a.png 9")):
        found = app.registry.of(worker_class)
        assert found is not None
        assert worker_class.enqueue("a.png", width=9).job().args == {"path": "a.png", "width": 9}
        assert found.call("a.png", width=9) == says


def test_functions_and_coroutines_may_run_in_job_processes() -> None:
    for job, inside in ((sync, "thread"), (coroutine, "loop")):
        it = register(job, executor="process", timeout="30s", hard_timeout="1m", max_memory="512MB")
        assert (it.executor, it.inside) == ("process", inside)
        assert (it.timeout, it.hard_timeout, it.max_memory) == (30_000, 60_000, 512_000_000)


def test_a_hard_timeout_alone_takes_the_place_of_the_usual_hour() -> None:
    assert (registered().timeout, registered().hard_timeout) == (HOUR, None)
    assert (registered(hard_timeout="2h").timeout, registered(hard_timeout="2h").hard_timeout) == (None, 2 * HOUR)
    assert registered(timeout=None).timeout is None


@pytest.mark.parametrize(
    ("timeout", "hard", "expected"),
    [
        (30_000, None, (30.0, 35.0)),
        (30_000, 60_000, (30.0, 60.0)),
        (None, 60_000, (None, 60.0)),
        (90_000, 60_000, (None, 60.0)),
        (None, None, (None, None)),
        (0, None, (None, None)),
    ],
)
def test_a_process_is_killed_a_grace_after_its_timeout_or_at_its_hard_timeout(
    timeout: int | None, hard: int | None, expected: tuple[float | None, float | None]
) -> None:
    assert limits(timeout, hard) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("512MB", 512 * 10**6), ("1.5 GiB", 3 * 2**29), ("64kB", 64_000), (4096, 4096), ("7", 7)]
)
def test_sizes_are_read(text: int | str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1 TB", -1, True, None, "1,5GB"])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        size(text)


@pytest.mark.parametrize(
    ("why", "error"),
    [("cancelled", JobCancelled), ("timeout", JobTimeout), ("lost", LeaseLost), ("shutdown", LeaseLost)],
)
def test_a_run_that_is_to_stop_learns_why(why: Why, error: type[Exception]) -> None:
    job = CurrentJob(UUID(int=1), "j", "q", 1, 7)
    waiting = job.stopper()
    job.check_cancelled()
    assert (job.cancelled, job.stop_reason, waiting.is_set()) == (False, None, False)
    job.stop(why)
    job.stop("timeout")
    assert (job.cancelled, job.stop_reason, waiting.is_set(), job.stopper().is_set()) == (True, why, True, True)
    with pytest.raises(error):
        job.check_cancelled()


def test_what_is_left_of_the_time_is_known_once_the_run_begins() -> None:
    job = CurrentJob(UUID(int=1), "j", "q", 1, 7)
    assert (job.deadline, job.remaining) == (None, None)
    job.deadline = monotonic() + 30
    assert job.remaining is not None
    assert 0 < job.remaining <= 30


def test_an_app_is_found_where_it_can_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_shop.py").write_text("from procession import Procession\nthe_app = Procession('memory://shop')\n")
    app = load_app("some_shop:the_app")
    try:
        assert target_of(app) == "some_shop:the_app"
    finally:
        del sys.modules["some_shop"]
        sys.path.remove(str(tmp_path))
    with pytest.raises(ConfigError, match="job processes import the app by name"):
        target_of(app)


def test_an_app_of_a_script_goes_by_the_name_under_which_its_file_can_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = ModuleType("__main__")
    script.app = Procession("memory://script")  # type: ignore[attr-defined]
    script.__file__ = "/somewhere/jobs.py"
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert target_of(script.app) == "jobs:app"
    script.__file__ = "/somewhere/not-a-module.py"
    with pytest.raises(ConfigError, match="no queue worker can import"):
        target_of(script.app)


def test_there_are_as_many_job_processes_as_processors_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings.load().job_processes >= 1
    monkeypatch.setenv("PROCESSION_JOB_PROCESSES", "3")
    assert Settings.load().job_processes == 3
    with pytest.raises(ConfigError, match="at least 1"):
        Settings.load(job_processes=0)


def test_threads_of_a_run_that_ask_at_once_wait_on_one_event() -> None:
    def ask(job: CurrentJob, together: Barrier) -> int:
        together.wait()
        return id(job.stopper())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for number in range(500):
                job, together = CurrentJob(UUID(int=number), "j", "q", 1, 7), Barrier(4)
                asked = [pool.submit(ask, job, together) for _ in range(4)]
                assert len({it.result() for it in asked}) == 1
    finally:
        sys.setswitchinterval(before)
