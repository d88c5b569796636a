"""The memory store held against itself, and what a worker that vanished last said of itself. Called by `verbs.py`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from procession.database.health import Finding
from procession.database.memory.store import Store
from procession.database.memory.unique import contradictions_of_keys
from procession.job import Crash, State

MISSING = {
    State.QUEUED: "not in its lane",
    State.DELAYED: "not due",
    State.BLOCKED: "no turn",
    State.RUNNING: "not held",
}
"""What it is called where a job is missing from the index of its state."""


def contradictions(store: Store) -> list[Finding]:
    """What is wrong in these dicts: nothing, unless a verb is."""
    found = [*_of_jobs(store), *_of_workers(store), *contradictions_of_keys(store)]
    return [*found, *store.slots.contradictions(store.jobs)]


def _of_jobs(store: Store) -> Iterator[Finding]:
    for record in store.lacking():
        yield Finding(kind=MISSING.get(record.state, "not kept"), jid=record.jid, where=record.queue)
    for record in store.strangers():
        yield Finding(kind="index without job", jid=record.jid, where=record.queue)
    for record in store.jobs.values():
        if record.state is State.DELAYED and not record.due_at:
            yield Finding(kind="not due", jid=record.jid, where="due")
        if record.state is State.RUNNING and record.worker not in store.leases:
            yield Finding(kind="no lease", where=record.worker)


def _of_workers(store: Store) -> Iterator[Finding]:
    for worker in store.info.keys() - store.leases.keys():
        yield Finding(kind="no lease", where=worker)
    for worker in store.tokens.keys() - store.leases.keys():
        yield Finding(kind="token without worker", where=worker)


class _Said(msgspec.Struct):
    host: str = ""
    pid: int = 0
    memory: int = 0


def last_words(info: bytes, beside: int) -> Crash:
    """The dossier of a worker whose end nobody saw. What it said of itself is left out where it makes no sense."""
    try:
        said = msgspec.json.decode(info, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Said()
    return Crash(how="lease ended", host=said.host, pid=said.pid, memory=said.memory, beside=max(beside, 0))
