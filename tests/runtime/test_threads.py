"""`def` jobs follow each other in one thread, and the loop hears of them together: what it then must not miss."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from procession import Event, Procession, State
from procession.clock import monotonic
from procession.database import Beat
from procession.runtime import active, thread_executor
from procession.runtime.executor import Run, Verdict
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.thread_executor import SHORT
from tests.runtime.working import taken_back, until, working


@pytest.fixture
def app(namespace: str) -> Procession:
    return Procession(f"memory://{namespace}", namespace=namespace, retry=False)


def test_short_runs_share_a_thread_and_are_told_together_each_with_its_events(app: Procession) -> None:
    count, threads, told, heard = 3_000, set[int](), list[int](), list[Event]()

    @app.job(name="j")
    def job() -> None:
        threads.add(threading.get_ident())

    for kind in ("started", "processed"):
        app.on(kind)(heard.append)
    app.enqueue_many(job.bind() for _ in range(count))

    async def main() -> None:
        async with working(app, threads=3) as worker:
            all_ended = worker._performer.all_ended
            worker._performer.all_ended = lambda ended: (told.append(len(ended)), all_ended(ended))  # type: ignore[method-assign, assignment]
            await until(lambda: len(heard) == 2 * count)

    asyncio.run(main())
    assert sum(told) == count
    assert len(told) < count / 3
    assert len(threads) <= 3
    assert Counter(event.kind for event in heard) == {"started": count, "processed": count}
    begun = set()
    for event in heard:
        begun.add(event.jid)
        assert event.kind == "started" or event.jid in begun


@pytest.mark.parametrize(("how", "seconds"), [("timeout", 1.0), ("deadline", 3.0)])
def test_a_run_that_begins_in_a_busy_thread_is_watched_as_any_other(app: Procession, how: str, seconds: float) -> None:
    let_go = threading.Event()

    @app.job(name="short")
    def short() -> None: ...

    @app.job(name="long", retry=False)
    def long() -> None:
        let_go.wait(20)

    limit: Any = {how: seconds}
    app.enqueue_many([short.bind() for _ in range(20)])

    async def main() -> None:
        handle = long.using(**limit).enqueue()
        async with working(app, threads=1) as worker:
            threads = worker._performer._threads
            threads._pace.soon = lambda: 30  # type: ignore[method-assign]  # all come with one claim
            run = (await until(lambda: [it for it in threads._running if it.run.registered.name == "long"]))[0]
            began = monotonic()
            await asyncio.sleep(60 * SHORT)
            assert run.logged
            found = await handle.wait_async(10)
            let_go.set()
            assert (found.state, (found.error or "").split(":")[0]) == (State.FAILED, "JobTimeout")
            assert monotonic() - began < seconds + 3
            await until(lambda: not threads.lost)

    asyncio.run(main())


@pytest.mark.parametrize("after", [0, 200, 1_000])
def test_what_a_worker_gives_back_in_the_middle_of_a_burst_has_not_run(app: Procession, after: int) -> None:
    count, ran = 3_000, list[int]()

    @app.job(name="j")
    def job(n: int) -> None:
        ran.append(n)

    app.enqueue_many(job.bind(n) for n in range(count))

    async def main() -> None:
        worker = QueueWorker(app, threads=4)
        running = asyncio.ensure_future(worker.run())
        await until(lambda: len(ran) > after)
        worker.stop()
        await running
        assert len(ran) == app.stats().processed
        async with working(app):
            await until(lambda: app.stats().processed == count)

    asyncio.run(main())
    assert sorted(ran) == [*range(count)]
    assert app.stats().queued == 0
    app.close()


def test_no_thread_begins_what_waits_once_the_lease_may_have_ended(app: Procession) -> None:
    alive, workers = list[bool](), list[QueueWorker]()
    holding, another = threading.Event(), threading.Event()

    def hold() -> None:
        holding.set()
        another.wait(0.5)

    @app.job(name="j")
    def job(n: int) -> None:
        performer = workers[0]._performer
        alive.append(performer.alive_until > monotonic())
        if n > 0:
            another.set()
            return
        while not performer._threads.waiting:
            time.sleep(0.001)
        performer._threads.loop.call_soon_threadsafe(hold)  # or it might say meanwhile that the lease goes on
        holding.wait(20)
        performer.alive_until = 0.0  # until the store says what is ours

    app.enqueue_many(job.bind(n) for n in range(50))

    async def main() -> None:
        async with working(app, threads=1) as worker:
            workers.append(worker)
            worker._performer._threads._pace.soon = lambda: 50  # type: ignore[method-assign]
            await until(lambda: app.stats().processed == 50)

    asyncio.run(main())
    assert alive == [True] * 50


def test_of_several_kinds_what_waits_too_long_is_given_back_but_for_a_thread_each(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 0.2)
    ran, let_go = list[int](), threading.Event()

    @app.job(name="swift")
    async def swift() -> None: ...

    @app.job(name="long")
    def long(n: int) -> None:
        ran.append(n)
        let_go.wait(20)

    async def main() -> None:
        async with working(app, threads=2) as first:
            threads = first._performer._threads
            monkeypatch.setattr(first._performer._tasks._pace, "soon", lambda: 100)  # it was busy with swift ones
            app.enqueue_many(long.bind(n) for n in range(50))
            await until(lambda: len(threads.waiting) > 2)
            await until(lambda: len(threads.waiting) == 2)
            await asyncio.sleep(0.3)
            assert (len(ran), len(threads.waiting), app.stats().running) == (2, 2, 4)
            async with working(app, threads=40):
                await until(lambda: len(ran) == 42)
                let_go.set()
                await until(lambda: app.stats().processed == 50)

    asyncio.run(main())
    assert sorted(ran) == [*range(50)]


def test_a_thread_that_waits_for_nothing_is_asleep(app: Procession) -> None:
    """The loop looks at what goes on while it does not know of it, and not for as long as it does."""
    let_go = threading.Event()

    @app.job(name="j")
    def job(n: int) -> None:
        if n:
            let_go.wait(20)

    async def main() -> None:
        async with working(app, threads=1) as worker:
            threads = worker._performer._threads
            looks, hear = [0], threads._hear

            def counted() -> None:
                looks[0] += 1
                hear()

            threads._hear = counted  # type: ignore[method-assign]
            handles = app.enqueue_many(job.bind(n) for n in (0, 1))
            await until(lambda: any(it.logged and it.run.claimed.jid == handles[1].jid for it in threads._running))
            seen = looks[0]
            await asyncio.sleep(20 * SHORT)
            assert looks[0] == seen
            let_go.set()
            await handles[1].wait_async(10)
            await asyncio.sleep(20 * SHORT)
            assert (threads._working, looks[0] <= seen + 2) == (0, True)

    asyncio.run(main())


def test_a_run_whose_thread_comes_late_to_begin_it_is_watched_by_its_deadline(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, perform = threading.Event(), thread_executor.perform

    def late(run: Run, worker: str) -> Verdict:
        time.sleep(20 * SHORT if run.deadline else 2 * SHORT)  # others have the interpreter meanwhile
        return perform(run, worker)

    monkeypatch.setattr(thread_executor, "perform", late)

    @app.job(name="short")
    def short() -> None: ...

    @app.job(name="long")
    def long() -> None:
        let_go.wait(20)

    app.enqueue_many([short.bind() for _ in range(5)])

    async def main() -> None:
        handle = long.using(deadline=1.0).enqueue()
        async with working(app, threads=1) as worker:
            worker._performer._threads._pace.soon = lambda: 30  # type: ignore[method-assign]
            found = await handle.wait_async(10)
            let_go.set()
            assert (found.state, (found.error or "").split(":")[0]) == (State.FAILED, "JobTimeout")

    asyncio.run(main())


def test_no_thread_begins_what_a_beat_is_about_to_say_was_lost(app: Procession) -> None:
    ran, compared, let_go = list[int](), list[int](), threading.Event()

    @app.job(name="j")
    def job(n: int) -> None:
        ran.append(n)
        let_go.wait(20)

    app.enqueue_many(job.bind(n) for n in range(20))

    async def main() -> None:
        async with working(app, threads=1) as worker:
            performer, beat = worker._performer, worker._beat
            performer._threads._pace.soon = lambda: 50  # type: ignore[method-assign]

            def late(said: Beat, *, asked: bool) -> None:
                let_go.set()
                time.sleep(20 * SHORT)
                compared.append(len(ran))
                beat(said, asked=asked)

            await until(lambda: len(ran) == 1 and len(performer._threads.waiting) == 19)
            performer.alive_until = 0.0
            await taken_back(app, worker)
            worker._beat = late  # type: ignore[method-assign]
            worker._beat_alarm.ring()
            await until(lambda: app.stats().processed == 20)

    asyncio.run(main())
    assert compared[0] == 1


def test_a_run_that_is_stopped_before_the_loop_has_heard_of_it_is_told_to_have_started(app: Procession) -> None:
    heard, begun, let_go = list[Event](), threading.Event(), threading.Event()
    for kind in ("started", "cancelled"):
        app.on(kind)(heard.append)

    @app.job(name="j")
    def job(n: int) -> None:
        if n:
            begun.set()
            let_go.wait(20)

    handles = app.enqueue_many(job.bind(n) for n in (0, 0, 1))

    async def main() -> None:
        async with working(app, threads=1) as worker:
            threads = worker._performer._threads
            threads._pace.soon, look_soon = lambda: 30, threads._look_soon  # type: ignore[method-assign]

            def cancelled() -> None:
                if begun.wait(0.5) and not heard_of:
                    heard_of.extend(it.logged for it in threads._running)
                    worker._performer.stop(handles[2].jid, "cancelled")
                look_soon()

            heard_of = list[bool]()
            threads._look_soon = cancelled  # type: ignore[method-assign]
            assert (await handles[2].wait_async(10)).state is State.CANCELLED
            let_go.set()
            assert heard_of == [False]
            await until(lambda: len(heard) >= 4)

    asyncio.run(main())
    assert [event.kind for event in heard if event.jid == handles[2].jid] == ["started", "cancelled"]


def test_what_waits_too_long_is_given_back_though_what_is_before_it_begins(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "OVERDUE", 0.3)

    @app.job(name="swift")
    async def swift() -> None: ...

    @app.job(name="long")
    def long() -> None:
        time.sleep(0.1)

    async def main() -> None:
        async with working(app, threads=2) as worker:
            threads = worker._performer._threads
            with monkeypatch.context() as patch:
                patch.setattr(worker._performer._tasks._pace, "soon", lambda: 200)  # it was busy with swift ones
                app.enqueue_many(long.bind() for _ in range(150))
                await until(lambda: len(threads.waiting) > 90)
            await until(lambda: len(threads.waiting) <= 2, 5)
            assert (await swift.using(priority=1).enqueue().wait_async(5)).state is State.PROCESSED
            app.purge("default")

    asyncio.run(main())


@pytest.mark.parametrize("kinds", ["one", "two", "one, and one that a call brings here"])
def test_jobs_of_one_place_never_overlap_however_short_they_are(app: Procession, kinds: str) -> None:
    count, lock, together = 600, threading.Lock(), list[int]()

    @app.job(name="in a thread")
    def thread() -> None:
        alone = lock.acquire(blocking=False)
        time.sleep(0.0002)
        lock.release() if alone else together.append(1)

    @app.job(name="on the loop", queue="default" if kinds == "two" else "other")
    async def loop() -> None:
        alone = lock.acquire(blocking=False)
        await asyncio.sleep(0.0002)
        lock.release() if alone else together.append(1)

    other = thread if kinds == "one" else loop.using(queue="default")
    app.enqueue_many((other if n % 2 and n > 100 else thread).bind() for n in range(count))

    async def main() -> None:
        async with working(app, queues=["default"], concurrency=1):
            await until(lambda: app.stats().processed == count)

    asyncio.run(main())
    assert not together


def test_where_no_more_threads_can_be_started_those_that_work_perform_what_waits(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, idents = threading.Thread.start, set[int]()

    def refused(thread: threading.Thread) -> None:
        number = thread.name.removeprefix("procession-")
        if number.isdigit() and int(number) > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    @app.job(name="j")
    def job() -> None:
        idents.add(threading.get_ident())

    monkeypatch.setattr(threading.Thread, "start", refused)
    handles = app.enqueue_many(job.bind() for _ in range(500))

    async def main() -> None:
        async with working(app):
            await until(lambda: app.stats().processed == 500, 8)  # one put off would come in ten seconds
            assert {handle.job().reason for handle in handles} == {""}

    asyncio.run(main())
    assert len(idents) <= 2


def test_a_job_that_waits_for_a_thread_is_said_to_wait_for_one(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace, lease=1.0, heartbeat=0.2)
    go = threading.Event()

    @app.job(name="j")
    def job() -> None:
        go.wait(20)

    async def main() -> None:
        async with working(app, threads=1, concurrency=10):
            handles = [job.enqueue() for _ in range(2)]
            await until(lambda: app.workers() and app.workers()[0].full)
            why = app.why(handles[1].jid)
            go.set()
            await handles[1].wait_async(20)
            await until(lambda: not app.workers()[0].full)
        assert why.kind == "busy"
        assert why.text.startswith("All threads or job processes of the 1 worker that serve default are taken; ")
        assert why.text.endswith("or raise --threads or --job-processes.")

    asyncio.run(main())
