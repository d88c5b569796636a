"""Workers that die, are killed, sleep, or only seem to: at stock settings where a figure is promised."""

from __future__ import annotations

import time

from procession import State
from tests.chaos.fleet import Family
from tests.chaos.journal import Event
from tests.chaos.scenario import STRUCK_OFTEN, scenario
from tests.chaos.stage import Stage
from tests.chaos.verdict import Marks

VANISHED = Marks(recovery=20.0)
SEEN_TO_DIE = Marks(recovery=3.0)
LEASE_OF_2 = {"lease": "2s", "heartbeat": "0.5s"}
LEASE_OF_3 = {"lease": "3s", "heartbeat": "1s"}


@scenario("no fault: four workers, scripts that recover and promote all the time", short=True, settings=LEASE_OF_2)
def no_fault(stage: Stage) -> None:
    # A sweep that takes a freshly claimed job for a stuck one duplicates with no fault at all: saq#277.
    stage.concurrency = 50
    stage.workers(4)
    stage.enqueue(20_000)
    while not stage.nothing_left():
        for _ in range(20):
            stage.app.ask(stage.app.database.recover(100, lease=2_000))
            stage.app.ask(stage.app.database.promote(100))
        time.sleep(0.01)


@scenario("a long job's whole worker family is killed", marks=VANISHED, short=True)
def long_job_worker_vanishes(stage: Stage) -> None:
    first, _ = stage.workers(2)
    stage.enqueue(20, stage.shop.note, 6.0)
    stage.until(lambda: len(stage.runs.read()) == 20)
    stage.vanish(first)


@scenario("a machine with its workers vanishes, short lease", settings=LEASE_OF_2, marks=Marks(recovery=5.0))
def machine_vanishes(stage: Stage) -> None:
    first, _ = stage.workers(2)
    stage.enqueue(40, stage.shop.note, 1.0)
    stage.until(lambda: len(stage.runs.open_on(first.pids)) > 0)
    stage.vanish(first)


@scenario("whole worker families are killed, 20 times in 2,000 jobs", settings=STRUCK_OFTEN, marks=VANISHED)
def families_vanish(stage: Stage) -> None:
    stage.workers(3)
    producer = stage.producing(2_000, stage.shop.note, 0.1, rate=60)
    for _ in range(20):
        time.sleep(stage.random.uniform(0.3, 2.2))
        stage.vanish(stage.random.choice(stage.fleet.serving))
        stage.worker()
    producer.finish()


@scenario(
    "worker processes are killed under their supervisors, 10 times",
    settings=STRUCK_OFTEN, marks=SEEN_TO_DIE, short=True,
)  # fmt: skip
def children_die(stage: Stage) -> None:
    families = stage.workers(3)
    producer = stage.producing(1_200, stage.shop.note, 0.1, rate=80)
    for n in range(10):
        time.sleep(stage.random.uniform(0.7, 1.5))
        _kill_when_busy(stage, families[n % 3])
    producer.finish()


def _kill_when_busy(stage: Stage, family: Family) -> None:
    """A replaced child waits longer after each death in a row; one that is there and has work is meant."""
    stage.until(lambda: stage.runs.open_on(family.children), 40)
    stage.kill_child(family)


def _crash(stage: Stage, at: str, within: int = 60, times: int = 20) -> None:
    """Workers that die at one point of their talk with the store, until it has happened so many times."""
    told = stage.folder / "crashes"
    told.touch()
    crashing = {"CHAOS_CRASH_AT": at, "CHAOS_CRASH_WITHIN": str(within), "CHAOS_CRASHES": str(told)}
    stage.concurrency = 2
    stage.workers(1)
    families = [stage.worker(**crashing) for _ in range(4)]
    producer = stage.producing(4_000, stage.shop.note, 0.02, rate=60)
    while producer.is_alive() and len(told.read_text().splitlines()) < times:
        time.sleep(0.05)
    producer.stop()
    stage.until(lambda: (counts := stage.app.counts()).running + counts.queued == 0, 40)
    for family in families:  # that hold nothing now: it would come back after a lease, which is not what is asked here
        stage.vanish(family)
    crashes = [line.split() for line in told.read_text().splitlines()]
    stage.events += [Event(float(at), "crashed", frozenset({int(pid)})) for pid, at in crashes]
    count = len(crashes)
    stage.forced(2 * count)
    if count < times:
        stage.complaints.append(f"only {count} of {times} crashes happened")


@scenario(
    "workers die between a claim's answer and the job's begin, 20 times", settings=STRUCK_OFTEN, marks=SEEN_TO_DIE
)
def die_after_claim(stage: Stage) -> None:
    _crash(stage, "after-claim")


@scenario("workers die between the job's end and the settle, 20 times", settings=STRUCK_OFTEN, marks=SEEN_TO_DIE)
def die_before_settle(stage: Stage) -> None:
    _crash(stage, "before-settle")


@scenario("workers die just after the settle was accepted, 20 times", settings=STRUCK_OFTEN, marks=SEEN_TO_DIE)
def die_after_settle(stage: Stage) -> None:
    _crash(stage, "after-settle")


@scenario("a worker is suspended for three leases and wakes", marks=VANISHED)
def suspended(stage: Stage) -> None:
    first, _ = stage.workers(2)
    stage.enqueue(20, stage.shop.note, 3.0)
    stage.until(lambda: len(stage.runs.read()) == 20)
    held = len(stage.runs.open_on(first.pids))
    stage.suspend(first, 3 * stage.lease)
    stage.processed(20, 60)
    for timer in stage._pending:
        timer.join()
    stage.until(lambda: first.lines("another worker owns it|counts no more"), 30)
    if held == 0:
        stage.complaints.append("the suspended worker held nothing, so nothing was shown")


@scenario("workers sleep and wake at random, some for longer than the lease", settings={**LEASE_OF_3, **STRUCK_OFTEN})
def suspended_at_random(stage: Stage) -> None:
    stage.workers(3)
    producer = stage.producing(1_500, stage.shop.note, 0.2, rate=50)
    while producer.is_alive():
        time.sleep(stage.random.uniform(0.5, 2.0))
        serving = stage.fleet.serving
        if len(serving) > 1:
            stage.suspend(stage.random.choice(serving), stage.random.uniform(0.2, 8.0))


@scenario("jobs block the event loop for three leases by sync code", settings=LEASE_OF_3)
def blocked_loops(stage: Stage) -> None:
    stage.concurrency = 2
    stage.workers(2)
    stage.enqueue(2, stage.shop.block, 9.0)
    stage.enqueue(20, stage.shop.note, 0.1)


@scenario("jobs run for twenty leases, 1,000 of them at once", settings={"lease": "1s", "heartbeat": "0.4s"})
def longer_than_the_lease(stage: Stage) -> None:
    stage.concurrency = 500
    stage.workers(2)
    stage.enqueue(1_000, stage.shop.note, 20.0)


@scenario("a job that always kills its worker, beside 100 good ones", marks=Marks(recovery=15.0))
def poison(stage: Stage) -> None:
    stage.workers(3)
    stage.enqueue(50, stage.shop.note, 0.3)
    (order,) = stage.enqueue(1, stage.shop.fatal, expected=State.FAILED)
    stage.enqueue(50, stage.shop.note, 0.3)
    stage.until(lambda: (job := stage.app.find_job(order.jid)) and job.state is State.FAILED, 90)
    job = stage.app.find_job(order.jid)
    assert job is not None
    runs = len(stage.runs.by_job()[order.jid])
    stage.forced(3 + 3 * 2 * stage.concurrency)
    if (job.reason, job.crashes, runs) != ("poison", 3, 3):
        stage.complaints.append(f"poison ended as {job.reason!r} after {job.crashes} crashes and {runs} runs")
