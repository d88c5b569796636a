"""What a store knows of itself: whether it contradicts itself, and what kind of server keeps it.

`audit` is asked by `procession repair` and by the tests; queue workers do a step of it with their heartbeats.
`inspect` is asked by `procession doctor` and by each queue worker before it begins. Nothing here judges: `doctor.py`
does.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from msgspec import Struct

from procession.database.operation import Operation


class Finding(Struct, frozen=True, kw_only=True):
    """One contradiction in a store."""

    kind: str
    """Short words, the same for the same kind: `no lease`, `not held`, `depth` … `KINDS` says what each means."""
    where: str = ""
    """The key, queue or worker that it was found in."""
    jid: UUID | None = None
    mended: bool = False

    @property
    def what(self) -> str:
        """The whole in plain words."""
        return KINDS.get(self.kind, self.kind)


KINDS = {
    "no lease": "a queue worker is known, or runs jobs, without a lease: nobody would take its jobs back",
    "not held": "a running job is missing from what its queue worker holds",
    "held without a run": "a queue worker holds a job that it does not run, or that is gone",
    "token without worker": "the token of a claim is kept for a queue worker that is gone",
    "not due": "a delayed job is missing from the index of due times, or stands there with another time",
    "not kept": "a finished job has no entry in the list of its state: it would never be forgotten",
    "index without job": "an index names a job that is gone, or is in another state",
    "lane not named": "a lane holds jobs and its queue does not name it: nobody would claim them",
    "not in its lane": "a queued job has no entry in its lane: nobody would claim it",
    "depth": "the depth of a queue is not the number of its queued jobs",
    "counter": "a counter is not the number of jobs that it counts",
    "record lost": "a long spec is still there, the record of its job is not",
    "record unreadable": "the record of a job cannot be read",
    "no spec": "what was asked is gone: the job will fail as undecodable when it is claimed, and cannot be mended",
    "key without job": "a unique key names a job that is gone, or that asked for another: it is free all the same",
    "deadline lost": "a job has a deadline and nothing says so: it could wait beyond it, until a worker takes it",
    "key lost": "a job should hold its unique key and nothing says so: another could be enqueued beside it",
    "slot without job": "a slot of a limit is taken by a job that is gone or not under way: the limit may be stuck",
    "no slot": "a job under way has no slot of its limit: one too many may run beside it",
    "no turn": "a blocked job is not among those who wait for its limit: nobody would free it",
    "waits for nothing": "a job is blocked, and nothing says by which limit",
    "slots unknown": "jobs wait for a limit, and nothing says how many slots it has",
    "slot not handed on": "a limit has a free slot, and jobs wait for one",
    "left over": "errors, a result or rules are kept for a job that is gone, or the number of slots of an unused limit",
    "key without owner": "a key of this namespace belongs to nothing that lives",
    "wrong type": "a key has another type than the one that is written down for it",
    "no expiry": "a key that should fade by itself does not",
}
"""The kinds of findings."""


class Audit(Struct, frozen=True, kw_only=True):
    """One page of an audit; `cursor` asks for the next, and is None on the last."""

    findings: list[Finding]
    cursor: str | None
    checked: int
    """How many records, entries or keys were looked at."""
    records: dict[str, int] = {}
    """Queue or final state → its jobs among the records of this page."""
    entries: dict[str, int] = {}
    """Queue or final state → jobs that have an entry there; whole ones at a time."""
    unchecked: str = ""
    """Why a part could not be checked: the store's own words, such as a missing right."""


class Inspection(Struct, frozen=True, kw_only=True):
    """What a server says of itself. None or an empty text means that it did not say, or that we may not ask."""

    kind: str = ""
    """`valkey`, `redis` or `memory`."""
    version: str = ""
    format: str = ""
    """The version of the stored format."""
    now: int
    """The store's clock, milliseconds since the epoch."""
    used_memory: int | None = None
    max_memory: int | None = None
    """In bytes; 0 means without a bound."""
    policy: str = ""
    """What the server does when its memory is full: `noeviction`, or one that throws keys away."""
    append_only: bool | None = None
    append_only_ok: bool | None = None
    """The last write to the append-only file succeeded."""
    snapshot_ok: bool | None = None
    """The last snapshot succeeded."""
    role: str = ""
    """`master` or `slave`, in the server's words."""
    replicas: int | None = None
    cluster: bool | None = None
    uptime: int | None = None
    """Seconds."""
    clients: int | None = None
    max_clients: int | None = None
    expired_leases: int = 0
    """Leases that have ended and were not taken back yet."""
    doubts: int = 0
    """Queues in doubt: they had fewer entries than jobs, and are looked through."""


class Health(Protocol):
    """What a store knows of itself."""

    def audit(
        self, cursor: str | None = None, *, limit: int = 500, mend: bool = False, lease: int, shelf: str | None = None
    ) -> Operation[Audit]:
        """Hold one page of the store against the rest of it: at most `limit` records, entries or keys.

        - Each record is where its state says: queued in the lane of its queue and priority, delayed in the index of due
          times at its time, running in the hands of its worker, final in the list of its state.
        - Nothing else is anywhere: each entry of an index, and each job that a worker holds, has such a record.
          Entries of lists whose jobs have moved on are tombstones and no fault.
        - Each queue worker that is known, and each that runs a job, has a lease. Each token belongs to such a worker.
        - The depth of a queue is the number of its queued jobs, and what is kept of a final state the number of its
          entries; the counters `queued` and `running` are sums of such.
        - Under a limit, each job that is queued or runs has a slot and nobody else has one; each that is blocked has
          its turn, and no slot is free while one waits.
        - Each spec that lies apart, each error, each result and each unique key has its record.
        - Each key of the namespace is in the table of keys, with the type written there, and fades if it says so.
        - Exact when nothing moves. While jobs move nothing is accused wrongly, and something may be overlooked.
        - With `mend`, what is wrong is put right in the step that finds it. A worker without a lease gets one of
          `lease` milliseconds. A record that cannot be read becomes a failed job with its bytes in `raw`, a spec whose
          record is gone a failed job with the reason `record lost`. Keys that nobody owns are never touched.
        - With `shelf`, a queue or a final state, only this is looked for: its jobs that have no entry there.
        - A shelf is recounted in one step that looks at each of its entries, about three microseconds each.
        """
        ...

    def inspect(self) -> Operation[Inspection]:
        """What the server says of itself. Needs no right: what may not be asked is left unknown."""
        ...
