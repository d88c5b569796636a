"""The procession itself: seven steps with counts and rates, an eighth while jobs are blocked, and what needs somebody.
Pure, from counters and queues.

Each step has a `total` that only rises while jobs arrive there: the page lets one dot travel for each that came, so the
movement seen is the movement that was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from procession.database import QueueInfo, WorkerInfo
from procession.web.meter import Look
from procession.web.shown import number, span

WAITED = 10_000
"""Milliseconds at the head of a queue after which somebody is told."""
TOLD = 5
"""Needs that are listed; the rest are counted."""


class Step(Struct, frozen=True, kw_only=True):
    """One step: how many are there (or came through), how fast they come, and what else is to be said."""

    key: str
    count: int
    rate: float | None
    total: int
    state: str
    """The state whose jobs are behind the number."""
    note: str = ""


class Need(Struct, frozen=True, kw_only=True):
    """Something that needs somebody: in words, and where to look."""

    key: str
    kind: str
    says: str
    link: str


def steps(look: Look, rates: Mapping[str, float], capacity: int) -> tuple[Step, ...]:
    """The steps, in the order in which a job goes."""
    it = look.counts
    ended = it.processed + it.failed + it.cancelled + it.retried + it.recovered
    slots = f"of {number(capacity)} places" if capacity else "no worker is here"
    blocked = Step(key="blocked", count=it.blocked, rate=None, total=0, state="blocked", note="wait for a slot")
    return (
        Step(key="delayed", count=it.delayed, rate=None, total=it.retried, state="delayed", note="due later"),
        *([blocked] if it.blocked else []),
        Step(key="queued", count=it.queued, rate=rates.get("enqueued"), total=it.enqueued + look.promoted,
             state="queued", note="ready to run"),
        Step(key="running", count=it.running, rate=None, total=ended + it.running, state="running", note=slots),
        Step(key="processed", count=it.processed, rate=rates.get("processed"), total=it.processed, state="processed"),
        Step(key="retried", count=it.retried, rate=rates.get("retried"), total=it.retried, state="delayed",
             note="back to delayed"),
        Step(key="failed", count=it.failed, rate=rates.get("failed"), total=it.failed, state="failed"),
        Step(key="cancelled", count=it.cancelled, rate=rates.get("cancelled"), total=it.cancelled, state="cancelled"),
    )  # fmt: skip


def needs(queues: Sequence[QueueInfo], workers: Sequence[WorkerInfo], now: int) -> tuple[Need, ...]:
    """What needs somebody, the worst first; empty when all is well."""
    served = {queue for worker in workers for queue in worker.queues}
    claimed = {queue for worker in workers if not worker.quiet_at for queue in worker.queues}
    found = [
        Need(key=f"lost-{it.id}", kind="lost", link="/workers",
             says=f"Worker {it.id} is silent; its jobs are taken back when its lease is over")
        for it in workers if it.lease_until < now
    ]  # fmt: skip
    for queue in queues:
        link, jobs = f"/jobs?state=queued&queue={queue.name}", f"{number(queue.queued)} queued"
        if not queue.queued:
            continue
        if queue.name not in served:
            found.append(Need(key=f"unserved-{queue.name}", kind="unserved", link=link,
                              says=f"No worker serves “{queue.name}”, {jobs}"))  # fmt: skip
        elif queue.paused:
            found.append(Need(key=f"paused-{queue.name}", kind="paused", link="/queues",
                              says=f"“{queue.name}” is paused, {jobs}"))  # fmt: skip
        elif queue.name not in claimed:
            found.append(Need(key=f"quiet-{queue.name}", kind="quiet", link="/workers",
                              says=f"Only quiet workers serve “{queue.name}”, {jobs}"))  # fmt: skip
        elif queue.oldest and now - queue.oldest > WAITED:
            # told in steps of ten seconds, so that it does not change at every look
            waited = span((now - queue.oldest) // 10_000 * 10_000)
            found.append(Need(key=f"slow-{queue.name}", kind="slow", link=link,
                              says=f"“{queue.name}” lets its first job wait for {waited}, {jobs}"))  # fmt: skip
    if len(found) > TOLD:
        found[TOLD:] = [Need(key="more", kind="more", link="/queues", says=f"and {len(found) - TOLD} more")]
    return tuple(found)
