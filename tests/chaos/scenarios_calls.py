"""Workers that die just before and just after each call of their talk with the store, their supervisors with them."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

from procession.job import new_jid
from procession.schedule import run_jid
from tests.chaos.fleet import Family
from tests.chaos.journal import Event
from tests.chaos.producer import Order, enqueue_all
from tests.chaos.scenario import STRUCK_OFTEN, scenario
from tests.chaos.stage import SLACK, Stage
from tests.chaos.verdict import Marks

CALLS = ("enqueue", "claim", "settle", "heartbeat", "promote", "fire")
LAST_CALLS = ("release", "leave")
"""Made by a worker that is told to go."""
TICK = 1_000
"""Milliseconds between two instants of the schedule."""
QUICKLY = {"lease": "2s", "heartbeat": "0.5s", "grace": "0.2s"}


@scenario(
    "workers die before and after each call: enqueue, claim, settle, release, heartbeat, promote, fire, leave",
    settings={**QUICKLY, **STRUCK_OFTEN}, marks=Marks(recovery=5.0), short=True,
)  # fmt: skip
def each_call(stage: Stage) -> None:
    stage.concurrency = 3
    stage.workers(1, "--concurrency", "30")  # it lives, and does what the others leave
    first = _begin_to_tick(stage)
    running = stage.producing(3_000, stage.shop.note, 0.2, rate=15)
    planned = stage.producing(3_000, stage.shop.note.using(delay="300ms"), 0.1, rate=5)
    told = stage.folder / "crashes"
    told.touch()
    children: list[UUID] = []
    before = 0
    for verb in (*CALLS, *LAST_CALLS):
        dying = [_dying(stage, f"{when}-{verb}", told) for when in ("before", "after")]
        if verb in LAST_CALLS:
            _send_away(stage, dying)
        _until_all_died(stage, dying, children)
        count = len(told.read_text().splitlines()) - before
        if count != 2:
            stage.complaints.append(f"{count} of 2 died at {verb}")
        before += count
    running.stop()
    planned.stop()
    crashes = [line.split() for line in told.read_text().splitlines()]
    stage.events += [Event(float(at), "crashed", frozenset({int(pid)})) for pid, at in crashes]
    stage.forced(len(crashes) * stage.concurrency)
    stage.until(stage.nothing_left)
    for child in children:  # who sowed them has come to its end, so they are stored
        stage.ledger.told(child, "yes")
    _expect_each_tick(stage, first)


def _dying(stage: Stage, at: str, told: Path) -> Family:
    """A family that is to die at one of its first calls of a kind."""
    within = "1" if at.endswith(LAST_CALLS) else "5"
    crashing = {"CHAOS_CRASH_AT": at, "CHAOS_CRASH_WITHIN": within, "CHAOS_CRASHES": str(told)}
    return stage.worker(**crashing, CHAOS_CRASH_WHOLE="1")


def _send_away(stage: Stage, families: list[Family]) -> None:
    """SIGTERM to families while they run what will not end within their grace."""
    stage.until(lambda: all(not it.alive or stage.is_at_work(it) for it in families), 40)
    long = {order.jid for order in stage.enqueue(50, stage.shop.note, 3.0)}  # more than there are places
    for family in families:
        stage.until(lambda it=family: not it.alive or any(run.jid in long for run in stage.runs.open_on(it.pids)), 40)
        family.process.terminate()


def _until_all_died(stage: Stage, families: list[Family], children: list[UUID]) -> None:
    """Let them enqueue meanwhile: a job that enqueues runs again after its worker's death."""
    deadline = time.monotonic() + 40 * SLACK
    while any(family.alive for family in families) and time.monotonic() < deadline:
        sown = [new_jid() for _ in range(2)]
        for child in sown:
            stage.ledger.asked(child)
        children += sown
        enqueue_all([Order(stage.shop.sow, child) for child in sown], stage.ledger)
        time.sleep(0.2)


def _begin_to_tick(stage: Stage) -> int:
    """A schedule that is due each second; the first instant."""
    stage.app.schedules.upsert("tick", stage.shop.note.bind(0.05), every=TICK / 1_000, missed="all")
    return stage.app.schedules.find("tick").next_at


def _expect_each_tick(stage: Stage, first: int) -> None:
    """No instant is fired any more; each one until now was, once: their jobs have the ids that follow from them."""
    stage.app.schedules.pause("tick", "the end")
    last = stage.app.schedules.find("tick").last_at
    for slot in range(first, last + 1, TICK):
        stage.ledger.asked(run_jid("tick", slot))
        stage.ledger.told(run_jid("tick", slot), "yes")
    if last - first < 5 * TICK:
        stage.complaints.append("the schedule was hardly due, so nothing was shown")
