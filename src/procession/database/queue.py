"""The hot verbs: what producers and queue workers ask all the time.

Each verb takes many and returns many, in the order given, and is idempotent or fenced. Each docstring is the
specification; the contract suite quotes it, line by line, over every backend. Times inside the store are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from procession.database.operation import Operation
from procession.job import Claimed, Crash, NewJob, Outcome, Stored
from procession.orders import Order


class Claims(Struct, frozen=True):
    """The answer to a claim."""

    jobs: list[Claimed]
    now: int
    """The store's clock, milliseconds since the epoch."""
    next_due: int
    """When the next delayed job is due, or 0 when none is."""
    called: bool = False
    """The worker's own bell had rung: somebody cancelled a job that it runs."""
    more: bool = False
    """It stopped at what jobs that are gone left in the queues, before it had found enough, or what expired may have
    handed its slot on: the next one goes on."""


class Held(Struct, frozen=True):
    """One job that the store believes a queue worker to be running."""

    jid: UUID
    token: bytes
    cancel: bool
    """Somebody asked for its cancellation."""


class Death(Struct, frozen=True, order=True):
    """A run that ended with its worker."""

    jid: UUID
    crashes: int
    """Which of the job's crashes it was, counted from 1."""


class Beat(Struct, frozen=True):
    """The answer to a heartbeat."""

    held: list[Held]
    now: int
    next_due: int
    ready: bool
    recovered: int
    """How many jobs of dead workers were taken back on the way."""
    repaired: int = 0
    """How many contradictions in the store were found and mended on the way."""
    left: bool = False
    """The store takes this worker for one that has left."""
    deaths: list[Death] = []
    """To be told of by whoever gets this answer."""
    orders: tuple[Order, ...] = ()
    """What waits to be heard by this worker."""


class Promoted(Struct, frozen=True):
    """The answer to a promotion."""

    moved: int
    now: int
    next_due: int


class Queue(Protocol):
    """The verbs through which a job moves."""

    def enqueue(self, jobs: Sequence[NewJob]) -> Operation[list[Stored]]:
        """Store new jobs: at once into their queue, or as delayed until they are due.

        - A job with `delay` or a future `at` becomes `delayed`; any other becomes `queued`.
        - A jid that is stored already changes nothing and answers `new=False`: asking twice makes one job.
        - A job whose unique key another job holds is not stored: the answer is that job's jid and `new=False`. With
          `conflict="replace"` a waiting holder takes over the arguments, and before its first run the due time (not
          beyond its own `at_most`) and the expiry; its queue and priority stay.
        - A key is held until the move that `until` names, and while its window runs; a job that is gone holds nothing.
        - A job under a limit (`slot`) is `queued` only with a slot of it, and `blocked` without: see `Limits`.
        - Within one queue and priority, jobs are claimed in the order in which they became queued. A jid that was
          removed while it was queued and is enqueued again may stand where it stood.
        - One bell per queue rings, not one per job; it wakes one queue worker.
        - A store that takes no new work refuses the whole call and stores nothing.
        """
        ...

    def claim(
        self,
        queues: Sequence[str],
        worker: str,
        token: bytes,
        *,
        limit: int,
        lease: int,
        after: bytes = b"",
        ageing: int = 0,
    ) -> Operation[Claims]:
        """Take up to `limit` ready jobs from `queues`, in the order named, the highest priority of each first.

        - A claimed job is `running`, its attempt is one more, and worker and token are written with it, in one step.
        - The worker's lease then ends `lease` milliseconds from now at the earliest.
        - The same token from the same worker answers with the jobs that it still holds under it, and takes nothing new.
        - `after` is the token of this worker's claim before, and something random for its first. Where another claim
          came in between (this question is late, or a failover lost claims), nothing is taken; the next claim goes on.
          Empty: not asked.
        - With `ageing` (milliseconds) the head of a priority counts one higher for each such span that it has been
          ready, and among equals the one that has been ready longest comes first. The order inside a priority stays. A
          job that was given back counts as ready since it was last taken.
        - A paused queue gives nothing.
        - A job whose expiry has passed is not handed out: it becomes `cancelled` with reason `expired`. One that has
          used an attempt does not expire any more.
        - A job with a deadline says how much time is `left`; one whose deadline has passed is handed out all the same,
          and its worker fails it.
        - A worker that has left takes nothing for a minute, and gets no lease: this question is late.
        - A claim that leaves work behind in a queue rings its bell again.
        - One that has passed 100 entries of jobs that are gone, or expired, in a queue takes no more from it, and says
          `more` when it took fewer than `limit`; likewise where one under a limit has expired, for another may have
          its slot now.
        - It hears the worker's own bell (`called`), so that a worker with work to claim need not wait at bells; but for
          `lease=0`, which is a claim behind a wait at that bell.
        - `fence` is larger than any number handed out before in this shard.
        """
        ...

    def settle(self, worker: str, outcomes: Sequence[Outcome]) -> Operation[list[bool]]:
        """Report what attempts came to. True for each that was accepted.

        - Only the current claim counts: another token, or a job that is not running, answers False and changes nothing.
        - A repeated settle of the same claim, after the job moved on to a final state, answers True and changes
        nothing.
        - `snooze`, `release` and `postpone` take the attempt back off; the others keep it.
        - A released job goes to the front of its queue and priority; so it is the next to run.
        - `crash` counts one crash more and is then `queued` at the front, or `failed` with reason `poison`, as in
          `recover`.
        - `failure` is appended to the job's errors, `value` becomes its result.
        - Callers that watch a job which became final are rung.
        - A finished job beyond the bound of its state pushes out the oldest of that state.
        """
        ...

    def heartbeat(
        self, worker: str, *, lease: int, info: bytes, queues: Sequence[str] = (), limit: int = 0
    ) -> Operation[Beat]:
        """Say "alive", write what is known of this worker, and read which jobs the store believes it to run.

        - The lease then ends `lease` milliseconds from now.
        - A worker whose lease had run out resumes it if nobody took its jobs back; if somebody did, it holds none.
        - One that has `left` less than a minute ago stays gone: this question is late.
        - With a `limit` it also does the duties that any worker may do: as `recover` and `promote` with that limit, and
          a step of the audit that goes round and round: at most 500 records, at most once a second in all.
        - With a `limit`, too, `deaths` names runs of jobs of `queues` that were taken back, each to one caller only; at
          most 100 a queue.
        - `orders` are those that wait for this worker; they come again until `obeyed` names them.
        - `ready` tells whether one of `queues` may have something to claim: what a lost ring would have said.
        """
        ...

    def extend(self, workers: Sequence[str], *, lease: int) -> Operation[None]:
        """Say "alive" for these workers, and nothing else. A worker that the store does not know stays unknown."""
        ...

    def promote(self, limit: int) -> Operation[Promoted]:
        """Make up to `limit` due jobs ready, the longest due first, and ring the bells of their queues.

        - Up to `limit` jobs whose deadline passed while they were queued or delayed become `failed` with reason
          `deadline`, the earliest deadline first; their errors say so.
        - A delayed job whose expiry has passed, and which has used no attempt, becomes `cancelled` with reason
          `expired`; so does one that waits beyond its deadline as well, in whatever state.
        """
        ...

    def recover(self, limit: int, *, lease: int) -> Operation[list[UUID]]:
        """Take back up to `limit` jobs of workers whose lease ended, and return them.

        - Each counts one crash more. It is `queued` again at the front of its priority, in the order in which they were
          claimed; after `max_crashes` it is
          `failed` with reason `poison`.
        - When the last run of this verb lies more than half a lease back (the store was down or its clock jumped),
          nothing is taken for one lease from now.
        - A worker is forgotten only after its last job was taken back.
        - A worker that is known and has no lease gets one: its jobs come back when that one ends, unless it beats.
        - The error that each job keeps carries what its worker last said of itself, and how many ran beside it.
        """
        ...

    def leave(self, worker: str, *, crash: Crash | None = None) -> Operation[list[UUID]]:
        """Forget a worker. Jobs that it still holds are taken back at once, as in `recover`, and returned.

        - What it asked before and comes late, up to a minute, makes no worker of it again.

        `crash` says how the process ended, when a supervisor saw it; it is kept with the error of each job.
        """
        ...

    def prune(self, limit: int) -> Operation[int]:
        """Forget up to `limit` finished jobs beyond the age or count kept, clear up tombstones; return how many."""
        ...
