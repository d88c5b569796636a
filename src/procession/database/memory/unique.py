"""Unique keys in the memory store: who holds one, and what a second enqueue changes. Called by `verbs.py`."""

from __future__ import annotations

from collections.abc import Iterator

from procession.database.health import Finding
from procession.database.memory.index import Record
from procession.database.memory.store import Store
from procession.job import NewJob, State
from procession.moves import Move
from procession.unique import is_held


def holder_of(store: Store, key: bytes, now: int) -> Record | None:
    """The job that holds a key now."""
    record = store.jobs.get(store.unique[key]) if key in store.unique else None
    if record is None or record.unique is None or record.unique.key != key:
        return None
    state = _state_by_now(record, now)
    held = is_held(record.unique.until, record.window_ends, state, record.start_at > 0, now)
    return record if held else None


def _state_by_now(record: Record, now: int) -> State:
    """What a job comes to that waits beyond its expiry or its deadline, before anybody has looked at it."""
    if record.state.final or record.state is State.RUNNING:
        return record.state
    if 0 < record.expires_at <= now and not record.attempt:
        return State.CANCELLED
    return State.FAILED if 0 < record.deadline <= now else record.state


def conflict(store: Store, job: NewJob, due: int, expires: int, now: int) -> Record | None:
    """The job that holds the key of a new one, changed if it waits and the new one says so; None: the key is free."""
    if (it := job.unique) is None:
        return None
    holder = holder_of(store, it.key, now)
    if holder is not None and it.conflict == "replace" and not holder.state.final and holder.state is not State.RUNNING:
        _replace(store, holder, job, due, expires, now)
    return holder


def take_key(store: Store, record: Record, now: int) -> bool:
    """Give a job its key. False when another job holds it."""
    if record.unique is None:
        return True
    holder = holder_of(store, record.unique.key, now)
    if holder not in (None, record):
        return False
    store.unique[record.unique.key] = record.jid
    return True


def bind(store: Store, record: Record, job: NewJob, now: int) -> None:
    """Write down the rules of a new job."""
    if job.deadline:
        record.deadline = store.deadlines[record.jid] = now + job.deadline
    record.slot = job.slot
    if (it := job.unique) is not None:
        record.unique = it
        record.window_ends = now + it.window if it.window else 0
        record.latest = now + it.at_most if it.at_most else 0
        store.unique[it.key] = record.jid


def contradictions_of_keys(store: Store) -> Iterator[Finding]:
    """A key that names a job which is gone, or which has another key."""
    for key, jid in store.unique.items():
        record = store.jobs.get(jid)
        if record is None or record.unique is None or record.unique.key != key:
            yield Finding(kind="key without job", jid=jid, where="unique")


def _replace(store: Store, record: Record, job: NewJob, due: int, expires: int, now: int) -> None:
    record.spec = job.spec
    _come_under(store, record, job, now)
    if record.start_at:
        return
    record.expires_at = expires
    if record.latest:
        due = min(due, record.latest)
    first = store.next_due()
    if due > now:
        store.move(record, Move.DEFER, now, due=due)
        if not first or due < first:
            store.ring(record.queue)
    elif record.state is State.DELAYED:
        store.ready(record, Move.PROMOTE, now, due=now)


def _come_under(store: Store, record: Record, job: NewJob, now: int) -> None:
    """The limit goes with the arguments: under another one, a job gives up its slot, or its turn, and asks again."""
    was, slots = record.state, store.slots
    if (record.slot and record.slot.limit) == (job.slot and job.slot.limit):
        record.slot = job.slot
        slots.said(record, ready=False)
        return
    slots.moved(record, was, None)
    record.slot = job.slot
    slots.said(record, ready=was is not State.DELAYED)
    if was is State.DELAYED:
        return
    if not store.takes_slot(record, now):
        if was is State.QUEUED:
            store.move(record, Move.BLOCK, now, reason=record.reason)
        else:
            slots.waits(record)
    elif was is State.BLOCKED:
        store.move(record, Move.FREE, now, reason=record.reason, due=now)
        store.ring(record.queue)
