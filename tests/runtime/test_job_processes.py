"""Jobs with executor="process", in real job processes of a queue worker that runs here."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import ConfigError, JobHandle, Procession, State
from procession.runtime import active, process_executor, queue_worker, spawned
from procession.runtime.performer import Performer
from procession.runtime.process_executor import ProcessExecutor
from procession.runtime.queue_worker import QueueWorker
from tests.runtime import heavy
from tests.runtime.heavy import RAISED, app
from tests.runtime.working import taken_back, until, working


@pytest.fixture(autouse=True)
def neither_jobs_nor_processes_are_left() -> Iterator[None]:
    yield
    app.flush(confirm="heavy")
    assert left_behind() == []


def left_behind() -> list[int]:
    """Job processes of ours that still are."""
    while True:
        try:
            found = [pid for it in Path("/proc/self/task").glob("*/children") for pid in it.read_text().split()]
            return [int(pid) for pid in found if b"job_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread or a child ended while we looked, and a thread hands its children on


def executor(worker: QueueWorker) -> ProcessExecutor:
    performer: Performer = worker._performer
    found = performer._executors["process"]
    assert isinstance(found, ProcessExecutor)
    return found


def pids(worker: QueueWorker) -> list[int]:
    return [it.pid for it in executor(worker)._lives]


def gone(pid: int) -> bool:
    """It has ended, though perhaps nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def reads(path: Path, text: str) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text() == text


def ended(*enqueue: Callable[[], JobHandle[Any]], **options: Any) -> list[Any]:
    """Perform jobs to their end, one after the other."""

    async def main() -> list[Any]:
        async with working(app, **options):
            return [await one().wait_async(30) for one in enqueue]

    return asyncio.run(main())


def test_functions_and_classes_sync_and_async_run_in_an_interpreter_of_their_own() -> None:
    async def main() -> None:
        async with working(app):
            for job in (heavy.where, heavy.where_async):
                pid, parent, session = await job.enqueue().result_async(30)
                assert (parent, session) == (os.getpid(), pid)
            assert await heavy.Sync.enqueue(1).result_async(30) == 3
            assert await heavy.Coroutine.enqueue(1, b=5).result_async(30) == 6

    asyncio.run(main())


def test_job_processes_are_kept_warm_and_never_more_than_their_number() -> None:
    async def main() -> None:
        async with working(app) as worker:
            assert pids(worker) == []
            seen = {(await heavy.where.enqueue().result_async(30))[0] for _ in range(5)}
            assert len(seen) == 1
            handles = [heavy.where.enqueue() for _ in range(40)]
            seen = {(await handle.result_async(30))[0] for handle in handles}
            assert len(seen | {*pids(worker)}) <= 2

    asyncio.run(main())


def test_context_variables_that_a_job_sets_are_gone_with_it() -> None:
    async def main() -> None:
        async with working(app) as worker:
            for job in (heavy.leaves_a_tenant, heavy.leaves_a_tenant_async) * 2:
                assert await job.enqueue("acme").result_async(30) == "nobody"
            assert len(pids(worker)) == 1

    asyncio.run(main())


def test_a_job_knows_itself_in_its_process() -> None:
    async def main() -> None:
        async with working(app):
            handle = heavy.about_itself.enqueue()
            said = await handle.result_async(30)
            assert said["jid"] == str(handle.jid)
            assert (said["attempt"], said["queue"], said["cancelled"]) == (1, "default", False)
            assert said["name"] == heavy.about_itself.name
            assert 0 < said["remaining"] <= 60
            assert (await heavy.about_itself.enqueue().result_async(30))["fence"] > said["fence"]

    asyncio.run(main())


def test_errors_are_retried_snoozed_and_judged_as_anywhere_else(tmp_path: Path) -> None:
    failed, snoozed, large = ended(
        heavy.fails.enqueue, lambda: heavy.snoozes.enqueue(str(tmp_path / "s")), heavy.returns_too_much.enqueue
    )
    assert (failed.state, failed.reason, failed.attempt) == (State.FAILED, "exhausted", 2)
    assert [failure.message for failure in failed.failures] == ["attempt 1", "attempt 2"]
    assert "in fails" in failed.failures[0].traceback
    assert (snoozed.state, snoozed.attempt) == (State.PROCESSED, 1)
    assert (large.state, large.reason) == (State.FAILED, "result cannot be kept")


def test_whatever_a_job_raises_is_one_failed_attempt_and_the_process_goes_on() -> None:
    async def main() -> None:
        async with working(app) as worker:
            before, *_ = await heavy.where.enqueue().result_async(30)
            for what in RAISED:
                for job in (heavy.raises, heavy.raises_async):
                    found = await job.enqueue(what).wait_async(30)
                    final = State.CANCELLED if what == "discard" else State.FAILED
                    assert (found.state, found.attempt, found.crashes) == (final, 1, 0), what
                    assert len(found.failures) == 1
                    assert len(found.failures[0].traceback) + len(found.failures[0].message) < 64_000
            assert (await heavy.where.enqueue().result_async(30))[0] == before
            assert worker._performer.executing == 0

    asyncio.run(main())


# Time


def test_a_timeout_is_raised_inside_the_running_code_which_may_tidy_up(tmp_path: Path) -> None:
    paths = [tmp_path / "sync", tmp_path / "async"]
    sync, coroutine = ended(
        lambda: heavy.soft.enqueue(str(paths[0])), lambda: heavy.soft_async.enqueue(str(paths[1]))
    )
    assert [path.read_text() for path in paths] == ["JobTimeout", "timeout"]
    for found in (sync, coroutine):
        assert (found.state, found.reason, found.crashes) == (State.FAILED, "no retry", 0)
        assert found.error == "JobTimeout: ran longer than its timeout of 0.3 s"
    assert "time.sleep(60)" in sync.failures[0].traceback


def test_a_timeout_that_comes_while_a_line_is_logged_is_not_lost() -> None:
    for found in ended(heavy.logs_slowly.enqueue):
        assert (found.state, found.error) == (State.FAILED, "JobTimeout: ran longer than its timeout of 0.3 s")


def test_what_goes_on_after_its_hard_timeout_is_killed_and_only_that(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(app) as worker:
            neighbour = heavy.nap.enqueue(4, str(tmp_path / "nap"))
            await until((tmp_path / "nap").exists)
            bystander = next(it.pid for it in executor(worker)._lives if it.active is not None)
            found = await heavy.hard_only.enqueue(str(tmp_path / "hard")).wait_async(30)
            assert (found.state, found.reason, found.crashes) == (State.FAILED, "no retry", 0)
            assert found.error == "JobTimeout: ran longer than its hard timeout of 1.5 s and was killed"
            crash = found.failures[0].crash
            assert crash is not None
            assert crash.how == "signal 9 (SIGKILL), ended by its queue worker"
            assert "in hang" in crash.stack
            assert await heavy.Sync.enqueue(1).result_async(30) == 3
            assert await neighbour.result_async(30) == "rested"
            assert bystander in pids(worker)

    asyncio.run(main())


def test_a_job_that_swallows_its_timeout_does_not_swallow_its_hard_timeout(tmp_path: Path) -> None:
    (found,) = ended(lambda: heavy.hard.enqueue(str(tmp_path / "hard"), "swallow"))
    assert (found.state, found.reason, found.crashes) == (State.FAILED, "no retry", 0)
    assert found.failures[0].type == "JobTimeout"


def test_the_hook_of_a_job_that_was_killed_is_called_in_its_worker() -> None:
    async def main() -> None:
        heavy.given_up.clear()
        async with working(app):
            found = await heavy.endures.enqueue().wait_async(30)
            assert (found.state, found.reason) == (State.FAILED, "no retry")
            await until(lambda: heavy.given_up)
        name = heavy.endures.registered.name
        assert heavy.given_up == [(os.getpid(), name, "JobTimeout")]

    asyncio.run(main())


@pytest.mark.parametrize("job", [heavy.endures_async, heavy.exits_in_a_task])
def test_the_hook_of_a_coroutine_that_an_exit_has_ended_is_called(tmp_path: Path, job: Any) -> None:
    (found,) = ended(lambda: job.enqueue(str(tmp_path / "path")))
    assert (found.state, found.reason) == (State.FAILED, "no retry")
    assert reads(tmp_path / "path.given-up", found.failures[0].type)()


def test_an_exit_in_a_task_or_callback_of_a_job_is_nobody_elses(tmp_path: Path) -> None:
    ended_itself, left, following = ended(
        lambda: heavy.exits_in_a_task.enqueue(str(tmp_path / "path")),
        heavy.leaves_an_exit.enqueue,
        heavy.where_async.enqueue,
    )
    assert (ended_itself.state, ended_itself.failures[0].type) == (State.FAILED, "SystemExit")
    assert (tmp_path / "path").read_text() == "tidied"
    assert (left.state, following.state) == (State.PROCESSED, State.PROCESSED)


def test_a_coroutine_that_swallows_its_cancellation_is_ended_too(tmp_path: Path) -> None:
    (found,) = ended(lambda: heavy.hard_async.enqueue(str(tmp_path / "async")))
    assert (found.state, found.failures[0].type) == (State.FAILED, "JobTimeout")
    assert (tmp_path / "async").read_text() == "swallowed"


def test_what_a_killed_job_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawned, "KILL_GRACE", 0.5)
    (found,) = ended(lambda: heavy.starts_another.enqueue(str(tmp_path / "child")))
    assert found.failures[0].type == "JobTimeout"
    assert gone(int((tmp_path / "child").read_text()))


# Memory, and death


def test_a_job_over_its_memory_fails_and_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(app):
            for job in (heavy.eats, heavy.eats_async):
                found = await job.enqueue(1_000).wait_async(30)
                assert (found.state, found.crashes) == (State.FAILED, 0)
                assert found.failures[0].type == "MemoryError"
            for _ in range(3):
                assert await heavy.eats.enqueue(150).result_async(30) == 150

    asyncio.run(main())


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("kill", {"signal 9 (SIGKILL)"}),
        ("segfault", {"signal 11 (SIGSEGV)"}),
        ("exit", {"exit code 7"}),
        ("line", {"exit code 0", "exit code 1"}),  # 0 where the thread that listens finds it closed first
    ],
)
def test_a_job_that_ends_its_process_is_poison_after_three_runs(tmp_path: Path, how: str, says: set[str]) -> None:
    async def main() -> None:
        async with working(app) as worker:
            neighbour = heavy.nap.enqueue(1, str(tmp_path / "nap"))
            await until((tmp_path / "nap").exists)
            handle = heavy.dies.enqueue(how)
            found = await handle.wait_async(30)
            assert (found.state, found.reason) == (State.FAILED, "poison")
            assert (found.crashes, found.attempt, len(found.failures)) == (3, 3, 3)
            assert {failure.type for failure in found.failures} == {"ProcessDied"}
            crash = found.failures[0].crash
            assert crash is not None
            assert (crash.how in says, crash.pid != os.getpid(), crash.memory > 0) == (True, True, True), crash.how
            assert len({failure.crash.pid for failure in found.failures if failure.crash}) == 3
            assert crash.log[-1].endswith(f"about to die of {how}")
            assert ("in dies" in crash.stack) == (how == "segfault")
            assert await neighbour.result_async(30) == "rested"
            assert worker._performer.held() == {}

    asyncio.run(main())


def test_the_runs_of_a_job_that_ends_its_process_are_counted_however_long_its_name_is() -> None:
    (found,) = ended(heavy.dies_under_a_long_name.enqueue)
    assert (found.reason, found.crashes) == ("poison", 3)


def test_a_job_is_none_the_worse_for_a_process_that_was_gone_before_it_began() -> None:
    async def main() -> None:
        async with working(app) as worker:
            for _ in range(5):
                pid, *_ = await heavy.where.enqueue().result_async(30)
                os.kill(pid, signal.SIGSTOP)
                handle = heavy.where.enqueue()
                await until(lambda: any(it.active for it in executor(worker)._lives))
                os.kill(pid, signal.SIGKILL)
                found = await handle.wait_async(30)
                assert (found.state, found.attempt, found.crashes) == (State.PROCESSED, 1, 0)

    asyncio.run(main())


# Ending


def test_a_running_job_is_cancelled_and_sees_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(app) as worker:
            path = tmp_path / "long"
            handle = heavy.long.enqueue(str(path))
            await until(path.exists)
            assert await handle.cancel_async("by hand")
            found = await handle.wait_async(30)
            assert (found.state, found.reason) == (State.CANCELLED, "by hand")
            assert path.read_text() == "JobCancelled"
            assert worker._performer.executing == 0

    asyncio.run(main())


def test_a_cancelled_job_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_executor, "CANCEL_GRACE", 0.2)
    monkeypatch.setattr(spawned, "KILL_GRACE", 0.2)

    async def main() -> None:
        async with working(app) as worker:
            path = tmp_path / "long"
            handle = heavy.long.enqueue(str(path), "c code")
            await until(path.exists)
            (pid,) = pids(worker)
            assert await handle.cancel_async("by hand")
            found = await handle.wait_async(30)
            assert (found.state, found.reason) == (State.CANCELLED, "by hand")
            await until(lambda: gone(pid))

    asyncio.run(main())


def test_shutdown_tells_what_still_runs_and_gives_it_back_uncharged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "CANCEL_GRACE", 0.0)

    async def main() -> list[Any]:
        async with working(app) as worker:
            paths = [tmp_path / "told", tmp_path / "stubborn"]
            handles = [heavy.long.enqueue(str(paths[0])), heavy.long.enqueue(str(paths[1]), "c code")]
            waiting = heavy.long.enqueue(str(tmp_path / "waiting"))
            for path in paths:
                await until(path.exists)
            worker.stop()
            worker.stop()  # the grace is skipped; the third time, when the block ends, what does not end is killed
            await until(reads(paths[0], "LeaseLost"))
        return [handle.job() for handle in (*handles, waiting)]

    for found in asyncio.run(main()):
        assert (found.state, found.attempt, found.crashes) == (State.QUEUED, 0, 0)
    assert not (tmp_path / "waiting").exists()
    assert app.purge("default") == 3
    app.close()


def test_a_run_whose_lease_was_lost_is_told_and_writes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(app) as worker:
            path = tmp_path / "soft"
            handle = heavy.soft.using(timeout=60).enqueue(str(path))
            await until(path.exists)
            app.pause("default")
            await taken_back(app, worker)
            await until(reads(path, "LeaseLost"))
            await until(lambda: not any(it.active for it in executor(worker)._lives))
            found = handle.job()
            assert (found.state, found.crashes, found.attempt) == (State.QUEUED, 1, 1)
            app.resume("default")
            assert await handle.cancel_async()
            await handle.wait_async(30)

    asyncio.run(main())


def test_a_job_claimed_ahead_is_given_back_when_the_runs_before_it_become_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 0.3)

    async def main() -> None:
        async with working(app) as first:
            assert await heavy.Sync.enqueue(1).result_async(30) == 3
            paths = [tmp_path / "one", tmp_path / "two"]
            long = [heavy.long.enqueue(str(path)) for path in paths]
            for path in paths:
                await until(path.exists)
            pace = executor(first)._pace
            monkeypatch.setattr(pace, "soon", lambda: 1)  # what it has seen was short, so it claims ahead
            waiting = heavy.Sync.enqueue(1)
            await until(lambda: executor(first).waiting)
            monkeypatch.setattr(pace, "soon", lambda: 0)
            await until(lambda: waiting.job().state is State.QUEUED)
            assert waiting.job().attempt == 0
            async with working(app):
                assert await waiting.result_async(30) == 3
            assert [handle.job().state for handle in long] == [State.RUNNING] * 2
            for handle in long:
                await handle.cancel_async()
                await handle.wait_async(30)

    asyncio.run(main())


# Processes that cannot begin, and those that are worn


@pytest.mark.parametrize(("seconds", "runs"), [(0.0, [3, 3]), (60.0, [6])])
def test_a_job_process_makes_way_after_so_many_jobs_and_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: float, runs: list[int]
) -> None:
    monkeypatch.setattr(process_executor, "JOBS", 3)
    monkeypatch.setattr(process_executor, "LIFE", seconds)

    async def main() -> list[int]:
        async with working(app):
            return [(await heavy.where.enqueue().result_async(30))[0] for _ in range(6)]

    seen = asyncio.run(main())
    assert [seen.count(pid) for pid in dict.fromkeys(seen)] == runs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise RuntimeError('broken module')", "a job process cannot begin: RuntimeError: broken module"),
        ("import os; os._exit(9)", "a job process cannot begin: it ended while it started: exit code 9"),
        ("from procession import Procession; app = Procession()", "does not know tests.runtime.heavy.where"),
    ],
)
def test_a_job_whose_process_cannot_begin_waits_uncharged_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    async def main() -> Any:
        async with working(app, target="broken:app"):
            handle = heavy.where.enqueue()
            await until(lambda: handle.job().state is State.DELAYED)
            found = handle.job()
            await handle.cancel_async()
            return found

    found = asyncio.run(main())
    assert says in found.reason
    assert (found.attempt, found.crashes) == (0, 0)


def test_an_app_that_no_job_process_can_import_is_refused_at_the_start() -> None:
    local = Procession("memory://local")

    @local.job(name="j", executor="process")
    def job() -> None: ...

    with pytest.raises(ConfigError, match="job processes import the app by name"):
        QueueWorker(local)
    assert QueueWorker(local, target="shop:app").id
