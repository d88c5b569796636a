"""Order, and everything at once."""

from __future__ import annotations

import math
import os
import time
from itertools import pairwise
from uuid import UUID

from procession import State
from procession.job import Crash
from tests.chaos.nemesis import EVERYTHING, carry_out, schedule
from tests.chaos.producer import Order, enqueue_all
from tests.chaos.scenario import STRUCK_OFTEN, scenario
from tests.chaos.stage import Stage

PRIORITIES = (-1, 0, 5, 100)


def _in_order(stage: Stage, orders: dict[UUID, tuple[int, int]]) -> None:
    """The fence rises from claim to claim, so it tells the order of claims whoever made them."""
    first = {jid: runs[0].fence for jid, runs in stage.runs.by_job().items() if jid in orders}
    claimed = [orders[jid] for jid in sorted(first, key=lambda jid: first[jid])]
    wrong = sum(before > after for before, after in pairwise(claimed))
    if wrong or len(claimed) != len(orders):
        stage.complaints.append(f"{wrong} of {len(claimed)} claims were out of order")


def _taken_and_given_back(stage: Stage) -> None:
    """A worker that takes the first twenty jobs and dies: they are to be the first again."""
    database = stage.app.database
    claims = stage.app.ask(database.claim(["red"], "ghost", os.urandom(16), limit=20, lease=60_000))
    assert len(stage.app.ask(database.leave("ghost", crash=Crash(how="signal 9")))) == len(claims.jobs) == 20


@scenario("10,000 jobs of four priorities, some given back by a worker that dies, one worker, then eight")
def strict_order(stage: Stage) -> None:
    for workers in (1, 7):
        stage.app.pause("red")
        made = [
            (-priority, n, Order(stage.shop.note.using(priority=priority)))
            for n in range(1_250)
            for priority in stage.random.sample(PRIORITIES, 4)
        ]
        enqueue_all([order for _, _, order in made], stage.ledger)
        stage.enqueue(100, stage.shop.flaky.using(priority=5), 2)
        if workers == 1:
            stage.app.resume("red")
            _taken_and_given_back(stage)
        stage.workers(workers)
        stage.app.resume("red")
        stage.until(stage.nothing_left)
        _in_order(stage, {order.jid: (urgency, n) for urgency, n, order in made})


AGEING = 0.5
ABOVE = 5


@scenario("an urgent job every 3 ms to workers that manage fewer: one that is less urgent starts within its bound")
def ageing(stage: Stage) -> None:
    stage.concurrency = 1
    stage.workers(2, "--ageing", f"{AGEING}s")
    urgent = stage.producing(20_000, stage.shop.note.using(priority=ABOVE), 0.01, rate=300)
    stage.until(lambda: len(urgent.orders) > 100)
    (modest,) = stage.enqueue(1, stage.shop.note.using(priority=0))
    stage.until(lambda: stage.runs.by_job().get(modest.jid), 60)
    urgent.stop()
    first = {jid: runs[0].fence for jid, runs in stage.runs.by_job().items()}
    jids = [order.jid for order in urgent.orders if first.get(order.jid, math.inf) < first[modest.jid]]
    since = stage.app.handle(modest.jid).job().enqueued_at
    later = [stage.app.handle(jid).job().enqueued_at - since for jid in jids]
    stage.notes.append(f"{sum(it > 0 for it in later)} that came later went first, the last {max(later)} ms later")
    if max(later) > ABOVE * AGEING * 1_000:
        stage.complaints.append("a job that was ready later than the bound went first")


ALL_KEPT = {"keep_cancelled": "200_000"}


@scenario("100,000 jobs wait for later, 2,000 are retried: one that is due starts in time", settings=ALL_KEPT)
def many_waiting(stage: Stage) -> None:
    waiting = stage.enqueue(100_000, stage.shop.note.using(delay="1h"), expected=State.CANCELLED)
    stage.workers(2)
    stage.enqueue(2_000, stage.shop.flaky, 2)
    late = []
    for _ in range(10):
        began = time.monotonic()
        (order,) = stage.enqueue(1, stage.shop.note.using(delay="1s", priority=1))
        stage.until(lambda jid=order.jid: stage.runs.by_job().get(jid))
        late.append(stage.runs.by_job()[order.jid][0].started - began - 1.0)
    if max(late) > 1.0:
        stage.complaints.append(f"a due job began {max(late):.1f} s late")
    for first in range(0, len(waiting), 1_000):
        jids = [order.jid for order in waiting[first : first + 1_000]]
        stage.app.ask(stage.app.database.cancel(jids, "enough"))


@scenario("everything at random for 90 s", settings={"lease": "6s", "heartbeat": "2s", **STRUCK_OFTEN})
def everything(stage: Stage) -> None:
    assault(stage, seconds=90, rate=60)


@scenario(
    "everything at random for 25 s", settings={"lease": "3s", "heartbeat": "1s", **STRUCK_OFTEN}, short=True
)
def everything_short(stage: Stage) -> None:
    assault(stage, seconds=25, rate=60)


def assault(stage: Stage, *, seconds: float, rate: float) -> None:
    """All faults in an order that the seed decides, against workers and producers by both ways."""
    stage.workers(1, distant=False)
    stage.workers(2, distant=True)
    near = stage.producing(int(seconds * rate / 2), stage.shop.note, 0.05, rate=rate / 2)
    far = stage.producing(int(seconds * rate / 2), stage.distant.work, 0.05, rate=rate / 2)
    stage.enqueue(100, stage.shop.flaky, 2)
    stage.enqueue(100, stage.shop.refuse, expected=State.FAILED)
    carry_out(stage, schedule(stage.seed, EVERYTHING, seconds=seconds, every=1.5))
    near.stop()
    far.stop()
