"""Why a job is where it is, in one or two plain sentences, with what to do about it.

`explain` is pure: a job, and what was seen of its queue, the workers and its limit, make a `Why`. `why` is the
generator that reads these facts, in two trips or three; `app.why`, `procession why` and the page of a job all say what
it says.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from procession.database import Database, Occupancy, QueueInfo, Walk, WorkerInfo
from procession.errors import JobNotFound
from procession.job import UNKNOWN_NAME, Job, State
from procession.sealing import shown

AHEAD = 100
"""Up to how many jobs before this one are counted one by one."""
HOLDERS = 3
"""Of how many jobs that have the slots of a limit is told what they do."""
RETRIED = ("", "retry", "unjudged")
"""Why a delayed job is one that was not put off by a worker."""


class Why(Struct, frozen=True, kw_only=True):
    """The answer."""

    kind: str
    """One word for programs: `due`, `retry`, `snoozed`, `unknown_name`, `put_off`, `overdue`, `paused`, `no_worker`,
    `quiet`, `busy`, `behind`, `next`, `blocked`, `running`, `stopping`, `lost`, `processed`, `failed`, `cancelled`,
    `undecodable`."""
    text: str

    def __str__(self) -> str:
        return self.text


class Facts(Struct, frozen=True, kw_only=True):
    """What was seen beside the job."""

    now: int
    """The store's clock, milliseconds since the epoch."""
    queue: QueueInfo | None = None
    workers: tuple[WorkerInfo, ...] = ()
    ahead: tuple[UUID, ...] = ()
    """The first jobs of its queue in the order in which they are claimed, at most 100."""
    occupancy: Occupancy | None = None
    """Its limit, for a job that is blocked."""
    holders: tuple[Job, ...] = ()
    """Some of the jobs that have its slots."""
    paused: frozenset[str] = frozenset()
    """The queues that are paused."""


def why(database: Database, jid: UUID) -> Walk[Why]:
    """Read the facts and explain. Raises JobNotFound."""
    found, now = yield (database.find([jid]), database.clock())
    job: Job | None = found[0]
    if job is None:
        raise JobNotFound(f"no job {jid}: never enqueued, removed, or its retention is over", jid=jid)
    queues, workers, ahead = yield (database.queues(), database.workers(), database.peek(job.queue, limit=AHEAD))
    queue = next((it for it in queues if it.name == job.queue), None)
    facts = Facts(now=now, queue=queue, workers=tuple(workers), ahead=tuple(it.jid for it in ahead))
    if job.state is State.BLOCKED:
        paused = frozenset(it.name for it in queues if it.paused)
        facts = replace(facts, paused=paused, **(yield from _limit(database, jid)))
    return explain(job, facts)


def _limit(database: Database, jid: UUID) -> Walk[dict[str, Any]]:
    (it,) = yield (database.occupancy([jid]),)
    found = (yield (database.find(it.holders[:HOLDERS]),)) if it is not None and it.holders else []
    return {"occupancy": it, "holders": tuple(job for job in found if job is not None)}


def explain(job: Job, facts: Facts) -> Why:
    """Say why a job is where it is."""
    match job.state:
        case State.QUEUED:
            return _queued(job, facts)
        case State.DELAYED:
            return _delayed(job, facts)
        case State.BLOCKED:
            return _blocked(job, facts)
        case State.RUNNING:
            return _running(job, facts)
        case _:
            return _final(job)


def _delayed(job: Job, facts: Facts) -> Why:
    due = f"at {moment(job.due_at)} ({_in(job.due_at - facts.now)})"
    if job.due_at <= facts.now:
        if not _alive(facts):
            text = f"It was due at {moment(job.due_at)}, and no worker is alive to move it on. Start one that serves"
            return Why(kind="overdue", text=f"{text} {job.queue}: procession worker MODULE:APP -q {job.queue}")
        return Why(kind="overdue", text=f"It was due at {moment(job.due_at)}; a worker queues it within seconds.")
    if job.reason.startswith(UNKNOWN_NAME):
        text = f"No worker that took it knows the job name {job.name}; it is offered again {due}. Deploy workers that"
        return Why(kind="unknown_name", text=f"{text} define it, or give the renamed job aliases=[{job.name!r}].")
    if job.reason == "snoozed":
        return Why(kind="snoozed", text=f"It put itself off in attempt {job.attempt + 1}; it runs again {due}.")
    if job.reason not in RETRIED:
        text = f"A worker took it and could not perform it ({job.reason}); it is offered again {due}."
        return Why(kind="put_off", text=text)
    if job.attempt and job.failures:
        of = f" of {job.attempts}" if job.attempts else ""
        text = f"Attempt {job.failures[-1].attempt}{of} failed with {_error(job)}; it runs again {due}."
        return Why(kind="retry", text=text)
    if job.attempt:
        return Why(kind="retry", text=f"It ran {_times(job.attempt)} already ({job.reason}); it runs again {due}.")
    return Why(kind="due", text=f"It was enqueued to run later: {due}.")


def _blocked(job: Job, facts: Facts) -> Why:
    limit, it = shown(job.limit, job.jid, "limit", None), facts.occupancy
    if it is None or it.taken < it.most:
        text = f"It waits for a slot of the limit {limit}, and one is free: workers hand it on when they next audit"
        return Why(kind="blocked", text=f"{text} the store, or at once: procession repair --apply")
    slots = f"one of the {it.most:,} slots" if it.most > 1 else "the one slot"
    left = it.taken - len(facts.holders)
    holders = [_holder(holder, facts) for holder in facts.holders] + [f"{left:,} more"] * (left > 0)
    before = f"{it.ahead:,} blocked {'job goes' if it.ahead == 1 else 'jobs go'} first"
    text = f"It waits for {slots} of the limit {limit}, taken by {'; '.join(holders)}"
    return Why(kind="blocked", text=f"{text}; {before if it.ahead else 'it is the next'}.")


def _holder(job: Job, facts: Facts) -> str:
    if job.state is State.RUNNING:
        return f"job {job.jid}, which runs for {span(facts.now - job.start_at)} on worker {job.worker}"
    paused = ", which is paused" if job.queue in facts.paused else ""
    return f"job {job.jid}, which is queued in {job.queue}{paused}"


def _queued(job: Job, facts: Facts) -> Why:
    queue, serving = facts.queue, [it for it in _alive(facts) if job.queue in it.queues]
    if queue is not None and queue.paused:
        by = f" by {queue.paused_by}" if queue.paused_by else ""
        reason = f": {queue.reason}" if queue.reason else ""
        text = f"The queue {job.queue} was paused{by} at {moment(queue.paused_at)}{reason}. Resume it with:"
        return Why(kind="paused", text=f"{text} procession queues resume {job.queue}")
    if not serving:
        elsewhere = sorted({name for it in _alive(facts) for name in it.queues})
        others = f" (those alive serve {', '.join(elsewhere[:10])})" if elsewhere else ": no worker is alive"
        text = f"No worker serves the queue {job.queue}{others}. Start one:"
        return Why(kind="no_worker", text=f"{text} procession worker MODULE:APP -q {job.queue}")
    if all(it.quiet_at for it in serving):
        by = ", ".join(sorted({it.quiet_by for it in serving if it.quiet_by}))
        text = f"The {_workers(len(serving))} that serve {job.queue} were told to be quiet{f' by {by}' if by else ''}."
        return Why(kind="quiet", text=f"{text} Have them claim again with: procession workers resume --all")
    before = _before(job, facts)
    taken = [bool(it.concurrency) and it.running >= it.concurrency for it in serving]
    if all(taken):
        slots = f"{sum(it.concurrency for it in serving)} slots"
        text = f"All {slots} of the {_workers(len(serving))} that serve {job.queue} are taken; {before}."
        return Why(kind="busy", text=f"{text} Wait, start more workers, or raise --concurrency.")
    if all(no_slot or it.full for no_slot, it in zip(taken, serving, strict=True)):
        slots = "threads or job processes"
        text = f"All {slots} of the {_workers(len(serving))} that serve {job.queue} are taken; {before}."
        return Why(kind="busy", text=f"{text} Wait, start more workers, or raise --threads or --job-processes.")
    if facts.ahead and facts.ahead[0] == job.jid:
        return Why(kind="next", text=f"It is the next of the queue {job.queue}; a worker takes it within seconds.")
    served = "1 worker serves" if len(serving) == 1 else f"{len(serving)} workers serve"
    return Why(kind="behind", text=f"It waits its turn in {job.queue}: {before}. {served} this queue.")


def _before(job: Job, facts: Facts) -> str:
    if job.jid in facts.ahead:
        count = facts.ahead.index(job.jid)
        if count == 0:
            return "it is the next"
        return f"{count} {'job goes' if count == 1 else 'jobs go'} first, being of the same or a higher priority"
    most = facts.queue.queued - 1 if facts.queue else 0
    if most < AHEAD:
        return "it was just moved"
    return f"at least {AHEAD} and at most {most:,} jobs go first, being of the same or a higher priority"


def _running(job: Job, facts: Facts) -> Why:
    lasted = f"attempt {job.attempt} for {span(facts.now - job.start_at)} on worker {job.worker}"
    worker = next((it for it in facts.workers if it.id == job.worker), None)
    if worker is None or worker.lease_until <= facts.now:
        text = f"It runs, {lasted}, but that worker no longer shows signs of life"
        return Why(kind="lost", text=f"{text}; another worker takes the job back within seconds, if one is alive.")
    until = f"its lease holds for {span(worker.lease_until - facts.now)} more and is renewed"
    if job.cancel_asked:
        text = f"It was asked to stop ({job.reason}) and still runs, {lasted}; {until}. It ends as cancelled once its"
        return Why(kind="stopping", text=f"{text} code lets itself be stopped, or at its timeout.")
    return Why(kind="running", text=f"It runs, {lasted}; {until}.")


def _final(job: Job) -> Why:
    at = f"at {moment(job.finish_at)}"
    if job.state is State.PROCESSED:
        return Why(kind="processed", text=f"It was processed {at}, in attempt {job.attempt}.")
    again = f"Retry it with: procession jobs retry {job.jid}"
    if not job.name:
        text = f"It failed {at}, because what is stored of it cannot be read"
        return Why(kind="undecodable", text=f"{text}; see its bytes with: procession jobs show {job.jid}")
    reason = f" ({job.reason})" if job.reason else ""
    if job.state is State.CANCELLED:
        return Why(kind="cancelled", text=f"It was cancelled {at}{reason}. {again}")
    error = f" with {_error(job)}" if job.error else ""
    return Why(kind="failed", text=f"It failed {at}, after {_times(job.attempt)}{error}{reason}. {again}")


def _alive(facts: Facts) -> list[WorkerInfo]:
    return [it for it in facts.workers if it.lease_until > facts.now]


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _times(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"


def _error(job: Job) -> str:
    last = job.failures[-1]
    message = shown(last.message, job.jid, "error", None)
    line = (f"{last.type}: {message}" if message else last.type).split("\n", 1)[0]
    return line if len(line) <= 120 else f"{line[:117]}…"


def _in(left: int) -> str:
    return f"in {span(left)}"


def moment(at: int) -> str:
    """An instant for people, in UTC."""
    return datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "an unknown time"


def span(milliseconds: int) -> str:
    """How long something takes, in its two largest units.

    >>> span(90_000), span(400), span(93_784_000)
    ('1m30s', '0.4s', '1d2h')
    """
    seconds = max(milliseconds, 0) / 1_000
    if seconds < 10:
        return f"{seconds:.1f}s"
    parts: list[str] = []
    left = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return "".join(it for it in parts[:2] if not it.startswith("0"))
