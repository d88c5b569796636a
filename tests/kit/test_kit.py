"""Running jobs in a test: what runs, when, in which order, and what a test is told."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import cached_property

import pytest

from procession import (
    BadArguments,
    ConfigError,
    Depends,
    Discard,
    EnqueueError,
    Fail,
    JobError,
    JobTimeout,
    Middleware,
    Procession,
    Retry,
    RetryLater,
    Snooze,
    State,
    Unavailable,
    Worker,
    Zlib,
    constant,
    current_job,
)
from procession.database import Database
from procession.testing import Kit
from procession.testing.kit import HELD
from procession.testing.seam import Seam


class OutOfStock(Exception):
    pass


def test_jobs_run_when_the_test_says_so_and_what_they_enqueue_runs_with_them(app: Procession, kit: Kit) -> None:
    @app.job(queue="a")
    def first(n: int) -> int:
        second.enqueue(n + 1)
        return n

    @app.job(queue="b")
    async def second(n: int) -> int:
        return n

    handle = first.enqueue(1)
    assert handle.job().state is State.QUEUED
    ran = kit.run()
    assert [(it.name.rpartition(".")[2], it.came_to, it.result) for it in ran] == [
        ("first", "processed", 1),
        ("second", "processed", 2),
    ]
    assert handle.result(timeout=1) == 1
    assert kit.run() == []


def test_arguments_and_results_make_the_way_through_json(app: Procession, kit: Kit) -> None:
    seen = []

    @app.job
    def keep(day: datetime, names: set[str]) -> set[str]:
        seen.append((day, names))
        return names

    moment, names = datetime(2026, 1, 2, tzinfo=UTC), {"a"}
    keep.enqueue(moment, names)
    assert kit.run()[0].result == {"a"}
    assert seen == [(moment, {"a"})]
    assert seen[0][1] is not names


def test_a_job_whose_result_cannot_be_kept_fails_in_the_test_as_it_would_in_earnest(app: Procession, kit: Kit) -> None:
    @app.job(retry=False)
    def bad() -> object:
        return object()

    bad.enqueue()
    with pytest.raises(TypeError, match="cannot be kept as JSON"):
        kit.run()


def test_the_jobs_own_error_is_raised_with_its_traceback_once_all_else_has_run(app: Procession, kit: Kit) -> None:
    ran = []

    @app.job(retry=Retry(attempts=2, backoff=constant(60)))
    def order(n: int) -> None:
        ran.append(n)
        if n == 1:
            raise OutOfStock(n)

    order.enqueue(1)
    order.enqueue(2)
    with pytest.raises(OutOfStock) as caught:
        kit.run()
    assert ran == [1, 2]
    assert any(entry.name == "order" for entry in caught.traceback)


def test_without_raising_the_attempts_say_what_they_came_to(app: Procession, kit: Kit) -> None:
    @app.job(retry=Retry(attempts=2, backoff=constant(60)))
    def order() -> None:
        raise OutOfStock

    handle = order.enqueue()
    (attempt,) = kit.run(raising=False)
    assert (attempt.came_to, type(attempt.error), attempt.attempt) == ("retried", OutOfStock, 1)
    assert handle.job().state is State.DELAYED
    (attempt,) = kit.advance(minutes=2, raising=False)
    assert (attempt.came_to, attempt.attempt) == ("failed", 2)
    assert handle.job().state is State.FAILED


def test_until_done_goes_from_one_due_time_to_the_next_and_forgives_what_was_made_good(
    app: Procession, kit: Kit
) -> None:
    runs = []

    @app.job(retry=Retry(attempts=5, backoff=constant(3600), jitter=False))
    def flaky() -> None:
        runs.append(kit.now)
        if len(runs) < 3:
            raise OutOfStock

    flaky.enqueue()
    assert [it.came_to for it in kit.run(until_done=True)] == ["retried", "retried", "processed"]
    assert runs[2] - runs[0] == timedelta(hours=2)


def test_until_done_leaves_schedules_alone_however_far_the_clock_goes(app: Procession, kit: Kit) -> None:
    @app.every("10m")
    @app.job
    async def tick() -> None: ...

    @app.job
    async def count(down: int) -> None:
        await asyncio.sleep(0.02)  # the worker goes on while other things could happen
        if down:
            count.using(delay="1h").enqueue(down - 1)

    count.enqueue(3)
    assert {it.name for it in kit.run(until_done=True)} == {count.name}
    assert [it.name for it in kit.advance(minutes=10)].count(tick.name) >= 1


@pytest.mark.parametrize(
    ("word", "came_to"), [(Snooze("1h"), "snoozed"), (RetryLater("1h"), "retried"), (Discard("no use"), "cancelled")]
)
def test_words_of_a_job_are_not_errors(app: Procession, kit: Kit, word: Exception, came_to: str) -> None:
    @app.job
    def say() -> None:
        raise word

    say.enqueue()
    assert [it.came_to for it in kit.run()] == [came_to]


def test_fail_is_an_error(app: Procession, kit: Kit) -> None:
    @app.job
    async def say() -> None:
        raise Fail("for ever")

    say.enqueue()
    with pytest.raises(Fail, match="for ever"):
        kit.run()


def test_time_passes_in_order_through_delays_retries_and_schedules(app: Procession, kit: Kit) -> None:
    seen: list[tuple[str, float]] = []
    start = kit.now

    def note(what: str) -> None:
        seen.append((what, (kit.now - start).total_seconds()))

    @app.every("1h")
    @app.job
    def hourly() -> None:
        note("hourly")

    @app.job(retry=Retry(attempts=2, backoff=constant(600), jitter=False))
    def flaky() -> None:
        note("flaky")
        if len([it for it in seen if it[0] == "flaky"]) < 2:
            raise OutOfStock

    @app.job
    async def later() -> None:
        note("later")

    later.using(delay="30m").enqueue()
    flaky.enqueue()
    kit.advance(hours=2)
    assert kit.now - start == timedelta(hours=2)
    assert [it for it in seen if it[0] != "hourly"] == [("flaky", 0), ("flaky", 600), ("later", 1800)]
    assert len([it for it in seen if it[0] == "hourly"]) == 2
    assert [at for _, at in seen] == sorted(at for _, at in seen)


def test_a_schedule_may_sleep_for_weeks_and_fires_at_its_minute(app: Procession) -> None:
    seen = []
    with Kit(app, now=datetime(2026, 2, 10, tzinfo=UTC)) as kit:

        @app.cron("30 8 1 * *", tz="Europe/Paris")
        @app.job
        def monthly() -> None:
            seen.append(kit.now)

        kit.advance(days=70)
        assert seen == [datetime(2026, 3, 1, 7, 30, tzinfo=UTC), datetime(2026, 4, 1, 6, 30, tzinfo=UTC)]
        assert kit.assert_enqueued(monthly).schedule


def test_expiries_and_deadlines_count_on_the_tests_clock(app: Procession, kit: Kit) -> None:
    @app.job(expires="10m")
    def fresh() -> None: ...

    @app.job(deadline="1h", retry=Retry(attempts=9, backoff=constant(2400), jitter=False))
    def soon() -> None:
        raise OutOfStock

    paused, late = fresh.enqueue(), soon.enqueue()
    app.pause("default")
    kit.advance(minutes=20)
    app.resume("default")
    with pytest.raises(OutOfStock):
        kit.run()
    assert paused.job().reason == "expired"
    assert (late.job().state, late.job().reason) == (State.FAILED, "deadline")


def test_the_clock_goes_only_on_and_to_a_moment_if_asked(app: Procession, kit: Kit) -> None:
    kit.advance(to=kit.now + timedelta(days=1))
    with pytest.raises(ConfigError, match="time only goes on"):
        kit.advance(to=kit.now - timedelta(seconds=1))


def test_inline_performs_at_the_enqueue_with_all_that_follows(app: Procession, kit: Kit) -> None:
    @app.job
    def add(a: int, b: int) -> int:
        if b:
            add.enqueue(a + b, 0)
        return a + b

    @app.job(retry=False)
    def bad() -> None:
        raise OutOfStock

    with kit.inline():
        assert add.enqueue(1, 2).result(timeout=1) == 3
        assert app.stats().processed == 2
        with pytest.raises(OutOfStock):
            bad.enqueue()
    assert add.enqueue(1, 0).job().state is State.QUEUED


def test_an_async_test_uses_the_twins_and_may_wait_in_one_task_while_another_runs_jobs(
    app: Procession, kit: Kit
) -> None:
    @app.job
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    async def main() -> None:
        handle = await double.enqueue_async(4)
        waiting = asyncio.ensure_future(handle.result_async())
        await asyncio.sleep(0)
        assert [it.result for it in await kit.run_async()] == [8]
        assert await waiting == 8
        await double.using(delay="1h").enqueue_async(5)
        assert [it.result for it in await kit.advance_async(hours=1)] == [10]
        with kit.inline():
            assert await (await double.enqueue_async(6)).result_async() == 12
            assert double.enqueue(7).job().state is State.PROCESSED
        with pytest.raises(ConfigError, match="run_async"):
            kit.run()
        await app.close_async()

    asyncio.run(main())


def test_who_waits_while_nothing_works_is_told_instead_of_hanging(app: Procession, kit: Kit) -> None:
    @app.job
    def work() -> None: ...

    handle = work.enqueue()
    with pytest.raises(ConfigError, match="nothing performs jobs"):
        handle.result()

    async def main() -> None:
        with pytest.raises(ConfigError, match="nothing performs jobs"):
            await handle.result_async()
        await app.close_async()

    asyncio.run(main())


def test_middleware_events_dependencies_and_lifespans_are_the_apps_own(app: Procession, kit: Kit) -> None:
    said: list[str] = []

    class Loud(Middleware):
        def perform(self, job):  # type: ignore[no-untyped-def]
            said.append("before")
            result = yield
            said.append("after")
            return result

    app.use(Loud())

    @app.on("processed")
    def told(event: object) -> None:
        said.append("processed")

    @app.lifespan
    def resources(app: Procession):  # type: ignore[no-untyped-def]
        said.append("open")
        yield {"db": "the db"}
        said.append("close")

    @app.job
    def use(db: str = Depends("db")) -> None:
        said.append(db)

    use.enqueue()
    kit.run()
    assert sorted(said, key=lambda it: it == "processed") == ["open", "before", "the db", "after", "close", "processed"]


def test_worker_classes_sealed_arguments_and_job_processes_run_here_too() -> None:
    app = Procession("redis://127.0.0.1:1", codec=[Zlib(1)])

    @app.worker(executor="process", hard_timeout=5)
    class Resize(Worker):
        def perform(self, path: str) -> str:
            return path * 2

    with Kit(app) as kit:
        Resize.enqueue("a" * 500)
        assert kit.assert_enqueued(Resize, "a" * 500).arguments == {"path": "a" * 500}
        assert kit.run()[0].result == "a" * 1000
    registered = app.registry.of(Resize)
    assert registered is not None
    assert registered.executor == "process"


@pytest.mark.parametrize("store", ["memory", "valkey"])
def test_progress_and_log_lines_are_kept_here_too(app: Procession, store: str, request: pytest.FixtureRequest) -> None:
    @app.job
    def work() -> None:
        current_job().progress(0.5, "half")
        current_job().log.warning("slow")

    with Kit(app, store="memory" if store == "memory" else request.getfixturevalue("valkey_url")) as kit:
        handle = work.enqueue()
        kit.run()
        job = handle.job()
        assert job.progress is not None
        assert (job.progress.part, job.progress.text) == (0.5, "half")
        assert [line.text for line in app.log(handle.jid)] == ["slow"]


def test_the_kit_stands_before_the_verbs_that_it_watches_and_no_other() -> None:
    """A method of the seam that has the name of a verb by chance would be asked in its place."""
    ours, verbs = ({name for name in dir(kind) if not name.startswith("_")} for kind in (Seam, Database))
    assert ours & verbs == {"claim", "connect", "connect_async", "enqueue", "fire", "heartbeat", "settle"}


def test_a_name_that_no_code_has_is_an_error_of_the_test(app: Procession, kit: Kit) -> None:
    other = Procession("memory://other")

    @other.job(name="gone")
    def gone() -> None: ...

    app.enqueue(gone.bind())
    with pytest.raises(JobError, match="no worker knows the name gone"):
        kit.run()


def test_a_timeout_of_a_job_is_its_error(app: Procession, kit: Kit) -> None:
    @app.job(timeout=0.05, retry=False)
    async def slow() -> None:
        await asyncio.sleep(60)

    slow.enqueue()
    with pytest.raises(JobTimeout, match=r"0\.05 s"):
        kit.run()


def test_a_job_that_does_not_end_ends_the_test_and_is_named(app: Procession) -> None:
    @app.job(timeout=None)
    async def stuck() -> None:
        await asyncio.sleep(60)

    with Kit(app, patience=1.0) as kit:
        stuck.enqueue()
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"1 s of real time.*stuck"):
            kit.run()
        assert time.monotonic() - began < 30


def test_two_apps_of_one_store_work_for_each_other_and_those_of_two_do_not_meet() -> None:
    front, back = Procession("memory://shop"), Procession("memory://shop")
    apart = Procession("memory://shop", namespace="apart")

    @back.job(name="bill", queue="back")
    def bill(n: int) -> int:
        return n

    @front.job(queue="front")
    def order(n: int) -> None:
        front.enqueue(bill.bind(n))

    @apart.job(queue="front")
    def lonely() -> None: ...

    with Kit(front, back, apart) as kit:
        order.enqueue(7)
        assert [it.name.rpartition(".")[2] for it in kit.run()] == ["order", "bill"]
        bill.enqueue(8)
        assert [it.came_to for it in kit.run()] == ["processed"]
        assert apart.stats().processed == 0
        lonely.enqueue()
        kit.run()
        assert front.stats().processed == 3


@pytest.mark.parametrize("store", ["memory", "valkey"])
@pytest.mark.parametrize("concurrency", [1, 10])
def test_two_apps_that_share_a_queue_each_get_their_own_jobs_of_it(
    store: str, request: pytest.FixtureRequest, concurrency: int
) -> None:
    front, back = Procession("redis://127.0.0.1:1"), Procession("redis://127.0.0.1:1")

    @front.job(name="order")
    def order(n: int) -> None:
        bill.enqueue(n)

    @back.job(name="bill")
    async def bill(n: int) -> int:
        return n

    real = "memory" if store == "memory" else request.getfixturevalue("valkey_url")
    for apps in ((front, back), (back, front)):
        with Kit(*apps, store=real, concurrency=concurrency) as kit:
            for n in range(3):
                order.enqueue(n)
                bill.enqueue(n + 10)
            ran = kit.run()
            assert all((it.came_to, it.attempt) == ("processed", 1) for it in ran)
            assert sorted(it.result for it in ran if it.name == "bill") == [0, 1, 2, 10, 11, 12]
            assert [it.name for it in ran].count("order") == 3


def test_the_app_is_as_it_was_afterwards(app: Procession) -> None:
    @app.job
    def work() -> None: ...

    database, layers = app.database, [*app.registry.policies.middleware]
    with Kit(app) as kit:
        work.enqueue()
        kit.run()
    assert app.database is database
    assert app.registry.policies.middleware == layers
    with pytest.raises(EnqueueError) as caught:  # the app's own store again, which is away
        work.enqueue()
    assert isinstance(caught.value.__cause__, Unavailable)
    with pytest.raises(ConfigError, match="closed"):
        kit.run()


def test_everything_that_an_app_keeps_of_its_store_is_put_aside() -> None:
    """Else a test would reach the user's own store by it. `schedules` asks the app for its store each time."""
    kept = {name for kind in Procession.__mro__ for name, it in vars(kind).items() if isinstance(it, cached_property)}
    assert kept == {*HELD, "schedules"}


def test_a_bad_question_says_what_is_wrong(app: Procession, kit: Kit) -> None:
    @app.job
    def work(n: int) -> None: ...

    def stranger() -> None: ...

    with pytest.raises(BadArguments, match="unexpected keyword argument 'm'"):
        kit.assert_enqueued(work, m=1)
    with pytest.raises(ConfigError, match="no job of the apps under test"):
        kit.enqueued(stranger)
    with pytest.raises(ConfigError, match="the test kit needs an app"):
        Kit()
