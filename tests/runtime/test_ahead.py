"""What waits in a worker for a place, how much of it there may be, and when it may begin."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from procession import Procession
from procession.clock import monotonic
from procession.job import Crash, NewJob, Outcome, new_jid
from procession.moves import Move
from procession.runtime import pace
from procession.runtime.deadlines import Deadlines
from procession.runtime.envoy import Envoy
from procession.runtime.pace import Pace
from tests.runtime.working import until, working


def test_what_waits_does_not_begin_while_the_lease_may_have_ended(namespace: str) -> None:
    app, note, began = _noting(namespace, concurrency=1)

    async def main() -> None:
        async with working(app, queues=["q"]) as worker:
            await note.enqueue(0).wait_async(10)
            performer = worker._performer
            said = 0.0
            while said != performer.alive_until:  # until it only waits: no answer that says "alive" is on its way
                said = performer.alive_until
                await asyncio.sleep(0.05)
            performer.alive_until = 0.0
            job = _new(note.bind(1).registered.spec, b'{"n":1}', queue="rung by nobody")
            claimed = app.ask(app.database.enqueue([job]))
            jobs = app.ask(app.database.claim([job.queue], worker.id, b"u" * 16, limit=1, lease=15_000)).jobs
            assert [job.jid for job in jobs] == [stored.jid for stored in claimed]
            performer.begin(jobs)
            performer.refill()
            await asyncio.sleep(0.05)
            assert began == [0]
            worker._beat_alarm.ring()  # the store says what is ours
            await until(lambda: began == [0, 1])

    asyncio.run(main())


def test_a_claim_ahead_that_was_made_before_the_last_beat_is_asked_again_and_not_begun(namespace: str) -> None:
    app, note, began = _noting(namespace)

    async def main() -> None:
        async with working(app, queues=["q"]) as worker:
            await note.enqueue(0).wait_async(10)
            job = _new(note.bind(1).registered.spec, b'{"n":1}', queue="rung by nobody")
            app.ask(app.database.enqueue([job]))
            for made_before, seen in ((1, [0]), (0, [0, 1])):
                claim, token = worker._claiming.ahead(2)._replace(order=[job.queue]), worker._claiming._token
                worker._claiming._ahead = claim
                claims = app.ask(app.database.claim([job.queue], worker.id, token, limit=1, lease=0))
                if made_before:  # its lease ended, and another worker has it
                    app.ask(app.database.settle(worker.id, [Outcome(jid=job.jid, token=token, move=Move.RELEASE)]))
                worker._claiming.compared_at = claims.now - 1 + made_before
                assert (await worker._came(claim, claims) is None) == bool(made_before)
                await asyncio.sleep(0.05)
                assert began == seen

    asyncio.run(main())


def test_a_claim_ahead_that_counts_no_more_is_followed_by_one_that_does(namespace: str) -> None:
    app, note, began = _noting(namespace)

    async def main() -> None:
        async with working(app, queues=["q"]) as worker:
            claiming = worker._claiming
            for n in range(20):
                await until(lambda: claiming._ahead is not None)
                claiming.given_up(claiming._ahead)  # type: ignore[arg-type]  # as after a beat that came between
                await note.enqueue(n).wait_async(10)  # a claim in a turn brings it
            await until(lambda: claiming._ahead is not None)
        assert began == [*range(20)]

    asyncio.run(main())


def _noting(namespace: str, **settings: Any) -> tuple[Procession, Any, list[int]]:
    """An app in memory, its job, and with what that began."""
    app = Procession(f"memory://{namespace}", namespace=namespace, **settings)
    began: list[int] = []

    @app.job(queue="q")
    async def note(n: int) -> None:
        began.append(n)

    return app, note, began


def _new(spec: tuple[bytes, bytes], arguments: bytes, queue: str = "q") -> NewJob:
    return NewJob(jid=new_jid(), spec=arguments.join(spec), queue=queue)


def test_a_claim_that_reaches_the_store_behind_the_word_of_a_death_takes_nothing(
    valkey_url: str, namespace: str
) -> None:
    app = Procession(valkey_url, namespace=namespace)
    job = _new((b'["f",', b"]"), b"{}")
    app.ask(app.database.enqueue([job]))
    messenger = Envoy(app.database, lease=15_000, budget=2.0)
    messenger.died("w", Crash(how="signal 9"))
    deadline = time.monotonic() + 10
    while messenger._dead:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert app.ask(app.database.claim(["q"], "w", b"t" * 16, limit=1, lease=60_000)).jobs == []
    assert app.counts().queued == 1
    messenger.close()
    app.flush(confirm=namespace)
    app.close()


def test_a_worker_claims_ahead_by_the_pace_of_what_ends_and_never_more_than_its_bound() -> None:
    measured = Pace(100)
    assert measured.soon() == 0
    for _ in range(1_000_000):
        measured.ended(0.000_01)
    measured._since -= 1.0  # a second in which they ended
    assert measured.soon() == pace.MOST
    for _ in range(30):  # then nothing ends any more
        measured._since -= 1.0
        measured.soon()
    assert measured.soon() == 0


def test_a_worker_that_waits_for_a_trip_is_hardly_slower_than_it_was() -> None:
    measured = Pace(100)
    measured._since -= 0.01
    for _ in range(400):
        measured.ended(0.000_01)
    fast = measured.soon()
    assert 0.9 * 40_000 * pace.SOON <= fast <= 40_000 * pace.SOON
    measured._since -= pace.SOON / 4  # in which none ended
    assert fast * 0.7 < measured.soon() < fast
    measured._since -= pace.SOON
    assert measured.soon() == 0


def test_runs_that_are_told_of_together_set_the_pace_that_they_set_one_by_one() -> None:
    alone, together = Pace(100), Pace(100)
    for _ in range(20):
        alone.ended(0.05)
    together.ended(0.05, 20)
    assert together._usual == pytest.approx(alone._usual)
    assert together._ended == alone._ended == 20


@pytest.mark.parametrize(("seconds", "ahead"), [(0.2, 1), (0.4, 0)])
def test_long_runs_that_end_together_are_no_pace(seconds: float, ahead: int) -> None:
    measured = Pace(5)
    for _ in range(100):
        measured._since -= 0.001  # five ended in this millisecond, and took so long
        for _ in range(5):
            measured.ended(seconds)
        assert measured.soon() <= 5 / seconds * pace.SOON  # what five places can take
    assert measured.soon() == ahead


class Done:
    """As much of a run as a deadline looks at."""

    def __init__(self) -> None:
        self.done = False
        self.started = monotonic()


def test_one_timer_serves_deadlines_in_any_order_and_forgets_what_is_done() -> None:
    async def main() -> None:
        passed: list[object] = []
        deadlines = Deadlines(passed.append)  # type: ignore[arg-type]
        late, soon, done = Done(), Done(), Done()
        for run, seconds in ((late, 0.06), (soon, 0.02), (done, 0.04)):
            deadlines.add(run, seconds)  # type: ignore[arg-type]
        done.done = True
        deadlines.over()
        await until(lambda: len(passed) == 2)
        assert passed == [soon, late]
        for _ in range(1_000):
            run = Done()
            deadlines.add(run, 3_600.0)  # type: ignore[arg-type]
            run.done = True
            deadlines.over()
        assert len(deadlines._heap) < 200
        deadlines.close()

    asyncio.run(main())
