"""Enqueues of callers who do not know of each other travel in one call of the script, and each gets its own answer."""

from __future__ import annotations

import asyncio
import gc
import struct

import pytest
from redis import Redis

from procession import ConfigError, Procession, Refused
from procession.job import NewJob, new_jid


def app_of(url: str, namespace: str) -> tuple[Procession, object]:
    app = Procession(url, namespace=namespace)

    @app.job(name="note", queue="q")
    async def note(n: int) -> None: ...

    return app, note


def test_a_thousand_concurrent_enqueues_are_a_few_calls_and_each_caller_gets_its_own_answer(
    valkey_url: str, namespace: str
) -> None:
    app, note = app_of(valkey_url, namespace)
    twice = new_jid()

    async def main() -> None:
        await app.stats_async()
        with Redis.from_url(valkey_url, protocol=2) as server:
            before = server.info("commandstats")["cmdstat_evalsha"]["calls"]
            handles = await asyncio.gather(
                *(note.enqueue_async(n) for n in range(1_000)),  # type: ignore[attr-defined]
                *(note.using(jid=twice).enqueue_async(-1) for _ in range(3)),  # type: ignore[attr-defined]
                app.stats_async(),
            )
            assert server.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 10
        *handles, _ = handles
        jobs = [await app.find_job_async(handle.jid) for handle in handles]
        assert [job.args["n"] for job in jobs if job] == [*range(1_000), -1, -1, -1]
        assert sorted(handle.duplicate for handle in handles[1_000:]) == [False, True, True]
        await app.close_async()

    asyncio.run(main())
    app.flush(confirm=namespace)
    app.close()


def test_a_store_that_takes_nothing_refuses_every_caller_of_a_joint_enqueue(valkey_url: str, namespace: str) -> None:
    app, note = app_of(valkey_url, namespace)

    async def main() -> list[object]:
        await app.stats_async()
        answers = await asyncio.gather(
            *(note.enqueue_async(n) for n in range(20)),  # type: ignore[attr-defined]
            return_exceptions=True,
        )
        await app.close_async()
        return answers

    with Redis.from_url(valkey_url, protocol=2) as server:
        server.config_set("maxmemory", 1)
        try:
            answers = asyncio.run(main())
        finally:
            server.config_set("maxmemory", 0)
    assert all(isinstance(answer, Refused) for answer in answers)
    assert app.stats().scheduled == 0
    app.close()


def test_what_cannot_be_packed_is_an_error_for_the_callers_of_its_trip_and_for_nobody_after(
    valkey_url: str, namespace: str
) -> None:
    app, note = app_of(valkey_url, namespace)
    broken = NewJob(jid=new_jid(), spec=b"{}", queue="q", deadline=-1)

    async def main() -> list[object]:
        await app.stats_async()
        async with asyncio.timeout(5):
            answers = await asyncio.gather(
                *(app.ask_async(app.database.enqueue([job])) for job in (_plain(), broken, _plain())),
                return_exceptions=True,
            )
            await note.enqueue_async(1)  # type: ignore[attr-defined]
        await app.close_async()
        return answers

    first, *others = asyncio.run(main())
    assert not isinstance(first, Exception), "it went alone, and at once"
    assert [type(answer) for answer in others] == [struct.error, struct.error]
    assert app.counts().queued == 2
    app.close()


def test_a_caller_that_is_cancelled_takes_nothing_from_the_others_of_its_trip(valkey_url: str, namespace: str) -> None:
    app, note = app_of(valkey_url, namespace)

    async def main() -> None:
        await app.stats_async()
        tasks = [asyncio.ensure_future(note.enqueue_async(n)) for n in range(5)]  # type: ignore[attr-defined]
        await asyncio.sleep(0)  # the first is on its way, the others wait for the next trip
        tasks[2].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers.pop(2), asyncio.CancelledError)
        jobs = [await app.find_job_async(handle.jid) for handle in answers]
        assert [job.args["n"] for job in jobs if job] == [0, 1, 3, 4]
        await app.close_async()

    asyncio.run(main())
    app.close()


def test_what_waits_for_a_trip_as_the_connection_is_closed_is_an_error_and_does_not_go_with_a_later_one(
    valkey_url: str, namespace: str
) -> None:
    app, _ = app_of(valkey_url, namespace)
    jobs = [_plain() for _ in range(4)]

    async def main() -> None:
        connection = app.database.connect_async()

        async def enqueue(job: NewJob) -> object:
            return await connection.ask(app.database.enqueue([job]))

        await enqueue(jobs[0])
        first, second = (asyncio.ensure_future(enqueue(job)) for job in jobs[:2])
        await first  # the second set out as that was answered
        third = asyncio.ensure_future(enqueue(jobs[2]))
        await asyncio.sleep(0)
        assert not second.done(), "else nothing is under way"
        await connection.close()
        answers = await asyncio.gather(second, third, return_exceptions=True)
        assert [getattr(answer, "asked", None) for answer in answers] == [True, False]
        await enqueue(jobs[3])
        await enqueue(jobs[3])
        found = await connection.ask(app.database.find([job.jid for job in jobs]))
        assert [job is None for job in found] == [False, False, True, False]
        await connection.close()

    asyncio.run(main())
    app.close()


def test_a_caller_that_waits_is_few_objects_for_the_collector(valkey_url: str, namespace: str) -> None:
    app, note = app_of(valkey_url, namespace)

    async def main() -> int:
        await app.stats_async()
        gc.collect()
        before = len(gc.get_objects())
        tasks = [asyncio.ensure_future(note.enqueue_async(n)) for n in range(500)]  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        grown = len(gc.get_objects()) - before
        await asyncio.gather(*tasks)
        await app.close_async()
        return grown

    grown = asyncio.run(main())
    app.close()
    assert grown < 500 * 12, "most of them belong to the task itself; each more lets the collector run more often"


def _plain() -> NewJob:
    return NewJob(jid=new_jid(), spec=b'["note",{"n":0}]', queue="q")


@pytest.fixture(autouse=True)
def clean(valkey_url: str, namespace: str) -> object:
    yield
    app = Procession(valkey_url, namespace=namespace)
    app.flush(confirm=namespace)
    app.close()


def test_a_text_that_cannot_be_written_is_refused_to_its_caller_and_costs_nobody_else_an_enqueue(
    valkey_url: str, namespace: str
) -> None:
    app, note = app_of(valkey_url, namespace)

    async def main() -> None:
        await app.stats_async()
        first, *others = await asyncio.gather(
            *(note.enqueue_async(n) for n in range(4)),  # type: ignore[attr-defined]
            app.pause_async("q", "until \ud800"),
            app.mute_error_async(None),  # type: ignore[arg-type]
            return_exceptions=True,
        )
        handles, refused = others[:3], others[3:]
        assert [type(it) for it in refused] == [ConfigError, ConfigError]
        assert "holds a lone surrogate" in str(refused[0])
        assert "neither a text nor a number" in str(refused[1])
        assert [await app.find_job_async(it.jid) is not None for it in (first, *handles)] == [True] * 4
        await app.close_async()

    asyncio.run(main())
    for verb in (app.mute_error, app.schedules.find, lambda text: app.quiet_worker("w", by=text)):
        with pytest.raises(ConfigError, match="lone surrogate"):
            verb("\ud800")
    app.flush(confirm=namespace)
    app.close()
