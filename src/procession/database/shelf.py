"""The calm verbs: what people, the command line and dashboards ask now and then. Reads are O(page), never O(store)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from procession.database.operation import Operation
from procession.errors import ConfigError
from procession.job import Job, State


class Query(Struct, frozen=True, kw_only=True):
    """Which jobs to list: one state, and optionally one queue or one name."""

    state: State
    queue: str | None = None
    name: str | None = None


def check_cursor(cursor: str | None, form: str, state: State) -> str:
    """A cursor of this form, "" for none. Raises ConfigError for one that no page of these jobs ended with."""
    if cursor and not re.fullmatch(form, cursor):
        raise ConfigError(f"cursor {cursor[:80]!r} is none of a page of {state} jobs; leave it out to begin anew")
    return cursor or ""


class Page(Struct, frozen=True):
    """One page of jobs; `cursor` asks for the next, and is None on the last."""

    jobs: list[Job]
    cursor: str | None


class Counts(Struct, frozen=True, kw_only=True):
    """Counters of one namespace, read in O(1).

    `queued`, `delayed`, `blocked`, `running` and the `kept_…` say how many are there now. The others count
    events since the namespace was created and never go down.
    """

    queued: int = 0
    delayed: int = 0
    blocked: int = 0
    running: int = 0
    kept_processed: int = 0
    kept_failed: int = 0
    kept_cancelled: int = 0
    enqueued: int = 0
    processed: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    recovered: int = 0
    repaired: int = 0
    """Contradictions in the store that were mended."""


class QueueInfo(Struct, frozen=True, kw_only=True):
    """One queue as it is now."""

    name: str
    queued: int
    paused: bool = False
    reason: str = ""
    """Why it was paused, as given by whoever did it."""
    paused_by: str = ""
    """Who paused it, in their own words; empty when it was not said."""
    paused_at: int = 0
    oldest: int = 0
    """Since when the job at the head of the highest priority is ready: since it was enqueued, was due, got its slot or,
    where it was given back, was last claimed. 0 when the queue is empty, or nothing was found among its first 10,000
    entries, for those of jobs that are gone count until they are cleared."""


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """One queue worker as it last described itself."""

    id: str
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    concurrency: int = 0
    threads: int = 0
    running: int = 0
    lost: int = 0
    """Threads, and places on the loop, held by attempts that do not stop."""
    full: bool = False
    """At its last beat it had no place for another job: its slots are taken, or those of the kind it performs."""
    quiet_at: int = 0
    """Since when it claims nothing more, because it was told so; 0 while it claims."""
    quiet_by: str = ""
    """Who told it, in their own words."""
    memory: int = 0
    """Resident memory at its last beat, in bytes; 0 when unknown."""
    started_at: int = 0
    """By the store's clock, as far as its last beat can tell."""
    beat_at: int = 0
    lease_until: int = 0


def described_worker(described: bytes, fields: dict[str, Any]) -> WorkerInfo:
    """A worker from its own description, JSON, and from what the store knows of it. Words that make no sense are left
    out. It says its `age` in milliseconds, by its own clock; the store knows when it said so."""
    try:
        said = msgspec.json.decode(described, type=dict[str, Any])
        if isinstance(age := said.pop("age", None), int):
            said["started_at"] = fields["beat_at"] - age
        return msgspec.convert({**said, **fields}, WorkerInfo)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(fields, WorkerInfo)


class Jobs(Protocol):
    """Single jobs, found by id in O(1)."""

    def find(self, jids: Sequence[UUID]) -> Operation[list[Job | None]]:
        """Read jobs as they are stored now, in the order asked; None for an id that is not there.

        - A record that cannot be decoded is returned with its bytes in `raw` and an empty name.
        """
        ...

    def page(self, query: Query, *, cursor: str | None = None, limit: int = 50) -> Operation[Page]:
        """Read one page: finished jobs newest first, delayed by due time, blocked by limit and turn,
        queued and running in their order.

        - With a `queue` or `name` a page may hold fewer than `limit` jobs and still have a cursor. So may one of queued
          jobs that passed 10,000 entries of jobs that are gone.
        - Raises ConfigError, before anything is asked, for a cursor that no page of this state returned.
        """
        ...

    def watch(self, jids: Sequence[UUID], waiter: str) -> Operation[list[State | None]]:
        """Read the states of jobs, and ring the bell `@waiter` once one of them becomes final or is removed.

        - The interest is forgotten after 60 seconds; a waiting caller asks again before that.
        """
        ...

    def cancel(self, jids: Sequence[UUID], reason: str = "cancelled") -> Operation[list[State | None]]:
        """Cancel jobs; answers the state in which each was found, None for an unknown id.

        - A waiting job becomes `cancelled` at once and never runs.
        - A running job is marked, its worker is rung, and it ends as `cancelled` when its worker has stopped it.
          The mark wins over a later retry, snooze, release or recovery. A job that finishes all the same stays so.
        - A finished job is left as it is.
        """
        ...

    def retry(self, jids: Sequence[UUID]) -> Operation[list[State | None]]:
        """Queue finished jobs again, with attempts and crashes counted anew; answers the state each was found in.

        - Errors of earlier attempts are kept, the old result is dropped. A job that is not finished is left as it is.
        - So is one whose unique key another job holds by now; it is answered as `blocked`.
        """
        ...

    def remove(self, jids: Sequence[UUID]) -> Operation[list[State | None]]:
        """Forget jobs altogether; answers the state each was found in. A running job is left as it is."""
        ...


class Queues(Protocol):
    """Whole queues."""

    def queues(self) -> Operation[list[QueueInfo]]:
        """Every queue that was ever used or paused, by name."""
        ...

    def pause(self, queues: Sequence[str], reason: str = "", by: str = "") -> Operation[None]:
        """Let nothing more be claimed from these queues. What runs finishes; what is enqueued waits.

        - Reason and author are kept, and shown by `queues`; a later pause takes the place of an earlier one.
        """
        ...

    def resume(self, queues: Sequence[str]) -> Operation[None]:
        """Undo `pause`, and ring the bells."""
        ...

    def peek(self, queue: str, *, limit: int = 1, rear: bool = False) -> Operation[list[Job]]:
        """The jobs that are claimed next, in order; with `rear`, those claimed last, the last one first.
        Looks at 10,000 entries, those of jobs that are gone among them."""
        ...

    def purge(self, queue: str, limit: int) -> Operation[int]:
        """Remove up to `limit` queued jobs of one queue; returns how many, 0 only when none are left. Delayed, blocked
        and running ones stay."""
        ...


class Watch(Protocol):
    """The whole namespace."""

    def counts(self) -> Operation[Counts]:
        """All counters, in O(1)."""
        ...

    def clock(self) -> Operation[int]:
        """The store's clock: what its times are by, in milliseconds since the epoch."""
        ...

    def workers(self) -> Operation[list[WorkerInfo]]:
        """Every queue worker that has a lease, or whose jobs were not taken back yet."""
        ...

    def flush(self) -> Operation[None]:
        """Remove every key of this namespace and none of any other."""
        ...
