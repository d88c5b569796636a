"""Jobs that no worker can read, or knows: they end or wait alone, with their bytes kept, and everything else runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from procession import Procession, Retry, State, constant
from procession.job import NewJob, new_jid
from procession.runtime.queue_worker import QueueWorker

QUICK = Retry(attempts=2, backoff=constant(0.01))


@pytest.fixture
def app(valkey_url: str, namespace: str) -> Procession:
    return Procession(valkey_url, namespace=namespace, budget=20.0)  # fifty megabytes take their time on a busy machine


def burst(app: Procession, **options: Any) -> None:
    """Perform what is ready."""

    async def main() -> None:
        await QueueWorker(app, burst=True, **options).run()
        await app.close_async()

    asyncio.run(main())


def raw(spec: bytes, **fields: Any) -> NewJob:
    return NewJob(**{"jid": new_jid(), "spec": spec, "queue": "q", **fields})


DEEP = b'["add",{"n":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}]"
HOSTILE = {
    "no JSON": b"\xff\xfe\x00",
    "nothing": b"",
    "cut short": b'["add",{"n":',
    "not a list": b'{"name":"add","args":{"n":1}}',
    "no name": b'[{"n":1}]',
    "a lone surrogate": b'["\\ud800",{}]',
    "nested deeply": DEEP,
    "one megabyte": b'["add",{"n":"' + b"x" * 1_000_000,
    "fifty megabytes": b"\x00" * 50_000_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_spec_that_cannot_be_read_fails_alone_and_its_bytes_are_kept(app: Procession, what: str) -> None:
    app.job(lambda n: n + 1, name="add", queue="q", retry=QUICK)
    bad, good = raw(HOSTILE[what]), raw(b'["add",{"n":1}]')
    app.ask(app.database.enqueue([bad, good]))
    burst(app)
    job = app.find_job(bad.jid)
    assert job is not None
    assert (job.state, job.reason) == (State.FAILED, "undecodable")
    assert job.raw == HOSTILE[what]
    assert app.handle(good.jid).result(5) == 2
    app.flush(confirm=app.settings.namespace)
    app.close()


@pytest.mark.parametrize(
    "args", [b'{"n":9007199254740993e400}', b'{"n":NaN}', b'{"n":"text"}', b'{"m":1}', b'{"n":1,"x":2}', b"[]"]
)
def test_arguments_that_do_not_fit_fail_the_attempt_and_the_worker_lives(app: Procession, args: bytes) -> None:
    def add(n: int) -> int:
        return n + 1

    app.job(add, name="add", queue="q", retry=False)
    bad, good = raw(b'["add",%s]' % args), raw(b'["add",{"n":9007199254740993}]')
    app.ask(app.database.enqueue([bad, good]))
    burst(app)
    job = app.find_job(bad.jid)
    assert job is not None
    assert job.state is State.FAILED
    assert app.handle(good.jid).result(5) == 9007199254740994
    app.close()


def test_one_unreadable_job_of_a_hundred_that_are_due_holds_up_none(app: Procession) -> None:
    app.job(lambda n: n, name="same", queue="q", retry=QUICK)
    jobs = [raw(b'["same",{"n":%d}]' % n, delay=200) for n in range(100)]
    jobs[40] = raw(b'["sa\x00', delay=200)
    app.ask(app.database.enqueue(jobs))
    asyncio.run(_until_all_ended(app, 100))
    found = app.ask(app.database.find([job.jid for job in jobs]))
    assert [job.state for job in found].count(State.PROCESSED) == 99
    assert (found[40].state, found[40].reason, found[40].raw) == (State.FAILED, "undecodable", b'["sa\x00')
    app.close()


def test_a_result_that_cannot_be_encoded_fails_that_job_and_the_worker_is_fine(app: Procession) -> None:
    app.job(lambda: object(), name="odd", queue="q", retry=False)
    app.job(lambda: 7, name="fine", queue="q")
    odd, fine = raw(b'["odd",{}]'), raw(b'["fine",{}]')
    app.ask(app.database.enqueue([odd, fine]))
    burst(app)
    job = app.find_job(odd.jid)
    assert job is not None
    assert job.state is State.FAILED
    assert "object" in (job.error or "")
    assert app.handle(fine.jid).result(5) == 7
    app.close()


async def _until_all_ended(app: Procession, number: int) -> None:
    worker = QueueWorker(app)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(20):
        while (counts := await app.counts_async()).processed + counts.failed < number:
            await asyncio.sleep(0.02)
    worker.stop()
    await running
    await app.close_async()


def test_a_name_that_no_worker_knows_waits_is_shown_and_runs_when_a_worker_knows_it(
    valkey_url: str, namespace: str
) -> None:
    old, new = (Procession(valkey_url, namespace=namespace) for _ in range(2))
    old.job(lambda: "a", name="a", queue="q")
    new.job(lambda: "a", name="a2", aliases=["a"], queue="q")
    new.job(lambda: "b", name="b", queue="q")
    jobs = [raw(b'["%s",{}]' % name) for name in (b"a", b"b", b"b", b"a")]
    old.ask(old.database.enqueue(jobs))
    burst(old, queues=["q"])
    states = [job.state for job in old.ask(old.database.find([job.jid for job in jobs]))]
    assert states == [State.PROCESSED, State.DELAYED, State.DELAYED, State.PROCESSED]
    said = [it for it in old.doctor() if it.name == "names"]
    assert [(it.grade, it.says) for it in said] == [
        ("warning", "2 jobs wait because no worker knows the name b")
    ]
    waiting = old.jobs("delayed").jobs[0]
    assert (waiting.attempt, waiting.failures) == (0, ())

    by_new = raw(b'["a",{}]')  # enqueued by the old release, performed by the new one through its alias
    new.ask(new.database.enqueue([by_new]))
    burst(new, queues=["q"])
    assert new.handle(by_new.jid).result(5) == "a"

    renamed = raw(b'["a2",{}]')  # rolled back: only the old release is left
    old.ask(old.database.enqueue([renamed]))
    burst(old, queues=["q"])
    job = old.find_job(renamed.jid)
    assert job is not None
    assert (job.state, job.reason) == (State.DELAYED, "no worker knows the name a2")
    for app in (old, new):
        app.close()
