"""The data of one memory database, and the one way to change a job's state: `move`."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from procession.codec import decode_spec, encode_failure
from procession.database import Death, Policy
from procession.database.memory.index import Index, Record
from procession.database.memory.ledger import Ledger
from procession.database.memory.slots import Slots
from procession.job import FINAL, Crash, Failure, Job, State
from procession.moves import Move, target
from procession.orders import Order, Stack
from procession.schedule import ScheduleInfo
from procession.trail import Deed

T = TypeVar("T")

ERRORS_KEPT = 25
LOOKED_AGAIN = 10_000
"""Milliseconds after which a run that is beyond its deadline is looked at again: its worker may have died."""
LATE = 60_000
"""Milliseconds for which what a worker asks that has left is taken for late, and a caller is taken to wait."""


class Ordered(Struct):
    """What one worker is told to do and has not heard yet, its last stack, and until when this is kept."""

    waiting: dict[str, Order] = {}
    stack: Stack | None = None
    until: int = 0


class Store(Index):
    """Dicts for what Redis holds in keys. All access is under one lock."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        super().__init__()
        self.unique: dict[bytes, UUID] = {}
        self.deadlines: dict[UUID, int] = {}
        """Jobs that are not finished and have a deadline: when to look at them for it."""
        self.queue_names: set[str] = set()
        self.paused: dict[str, tuple[int, str, str]] = {}
        self.leases: dict[str, int] = {}
        self.info: dict[str, tuple[int, bytes]] = {}
        self.tokens: dict[str, bytes] = {}
        self.left: dict[str, int] = {}
        self.deaths: defaultdict[str, list[Death]] = defaultdict(list)
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.watchers: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
        """Who waits for a job, and when they last said so."""
        self.schedules: dict[str, ScheduleInfo] = {}
        self.due_at: dict[str, int] = {}
        self.declared = False
        """Schedules were stored that stand in code."""
        self.ledger = Ledger()
        self.slots = Slots()
        self.orders: dict[str, Ordered] = {}
        self.trail: list[Deed] = []
        self.fence = 0
        self.recovered_at: int | None = None
        self.grace_until = 0
        self._rung: dict[str, int] = {}

    def locked(self, run: Callable[[], T]) -> T:
        """Run one operation alone."""
        with self._lock:
            answer = run()
            if self.ledger.begun is not None:
                self.ledger.deepen({name: self.depth(name) for name in self.queue_names})
            return answer

    # Bells

    def ring(self, bell: str, now: int = 0) -> None:
        """A ring that nobody waited for is kept for the next who waits. That of a caller or a worker tells its time and
        fades: their names do not come again."""
        self._rung[bell] = now
        for listener in self._listeners:
            listener()

    def heard(self, bells: Sequence[str]) -> str | None:
        """Take one ring of these bells."""
        with self._lock:
            for bell in bells:
                if bell in self._rung:
                    del self._rung[bell]
                    return bell
        return None

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` at each ring."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def fade(self, now: int) -> None:
        """Forget callers and workers that have gone, and what was rung for them."""
        oldest = now - LATE
        self._rung = {bell: at for bell, at in self._rung.items() if not 0 < at <= oldest}
        self.left = {worker: at for worker, at in self.left.items() if at > oldest}
        for jid, waiters in [*self.watchers.items()]:
            self.watchers[jid] = {waiter: at for waiter, at in waiters.items() if at > oldest}
            if not self.watchers[jid]:
                del self.watchers[jid]

    # Moves

    def move(
        self, record: Record, move: Move, now: int, *, reason: str = "", due: int = 0, front: bool = False
    ) -> None:
        """Apply one row of the table. Raises ValueError when the table forbids it: a bug of the caller."""
        before, after = record.state, target(move, record.state)
        self.slots.moved(record, before, after)
        if after is None:
            self.forget(record)
            return
        self.leave(record)
        record.state, record.reason, record.due_at = after, reason[:200], due
        self.enter(record, front=front)
        if after in FINAL:
            self.deadlines.pop(record.jid, None)
            record.finish_at = now
            self.happened(after.value, record.queue, now)
            self.ring_watchers(record.jid)
        if before is State.RUNNING and after not in FINAL:
            record.worker, record.token = "", b""

    def ready(self, record: Record, move: Move, now: int, *, reason: str = "", due: int = 0) -> None:
        """A move into its queue; where the limit of the job has no slot free, it is blocked instead."""
        if self.takes_slot(record, now):
            self.move(record, move, now, reason=reason, due=due)
            self.ring(record.queue)
        else:
            self.move(record, Move.BLOCK, now, reason=reason)

    def takes_slot(self, record: Record, now: int) -> bool:
        """True when the job may be queued: it has a slot of its limit, maybe one that a less urgent job made free."""
        if self.slots.takes(record):
            return True
        other = self.slots.makes_way(record, self.jobs)
        if other is None or record.slot is None:
            return False
        self.move(other, Move.BLOCK, now, reason=other.reason)
        self.slots.passed(record.slot.limit, other, record)
        return True

    def hand_on(self, now: int) -> None:
        """Slots that were given back go to the jobs that wait for them."""
        for record in self.slots.handed_on(self.by_state[State.BLOCKED].values()):
            self.move(record, Move.FREE, now, reason=record.reason, due=now)
            self.ring(record.queue)

    def happened(self, event: str, queue: str, now: int) -> None:
        """Count an event, in all and in its minute and hour."""
        self.counters[event] += 1
        self.ledger.happened(event, queue, now)

    def forget(self, record: Record) -> None:
        """Leave nothing of a job."""
        self.leave(record)
        self.ring_watchers(record.jid)
        if record.unique is not None and self.unique.get(record.unique.key) == record.jid:
            del self.unique[record.unique.key]
        self.deadlines.pop(record.jid, None)
        del self.jobs[record.jid]

    def ring_watchers(self, jid: UUID) -> None:
        """Ring the callers who wait for a job."""
        for waiter, asked in self.watchers.pop(jid, {}).items():
            self.ring(f"@{waiter}", asked)

    def add_failure(self, record: Record, failure: bytes) -> None:
        """Keep an attempt's error, the newest 25."""
        record.failures = [*record.failures, failure][-ERRORS_KEPT:]

    def miss_deadlines(self, limit: int, now: int) -> None:
        """Fail what waits beyond its deadline. What runs is ended by its worker, and looked at again."""
        late = sorted((at, jid.bytes, jid) for jid, at in self.deadlines.items() if at <= now)[:limit]
        for _, _, jid in late:
            record = self.jobs[jid]
            if record.state is State.RUNNING:
                self.deadlines[jid] = now + LOOKED_AGAIN
                continue
            if 0 < record.expires_at <= now and not record.attempt:
                self.move(record, Move.EXPIRE, now, reason="expired")
                continue
            message = "the deadline of this job passed while it waited"
            failure = Failure(attempt=record.attempt, type="JobTimeout", message=message, at=now)
            self.add_failure(record, encode_failure(failure))
            self.move(record, Move.MISS, now, reason="deadline")

    def take_back(self, record: Record, now: int, how: str, crash: Crash | None = None) -> None:
        """A job's worker is gone."""
        failure = Failure(
            attempt=record.attempt, type="WorkerDied", message=how, at=now, worker=record.worker, crash=crash
        )
        self.add_failure(record, encode_failure(failure))
        self.crashed(record, Move.RECOVER, now)
        record.token = b""
        self.deaths[record.queue].append(Death(record.jid, record.crashes))

    def crashed(self, record: Record, again: Move, now: int) -> None:
        """A run ended with its process: count the crash and decide. `again` is the move if it may run once more."""
        record.crashes = min(record.crashes + 1, 255)
        self.counters["recovered"] += 1
        if record.cancel:
            self.move(record, Move.DISCARD, now, reason=record.reason)
        elif record.crashes >= self.policy.max_crashes:
            self.move(record, Move.POISON, now, reason="poison")
        else:
            self.move(record, again, now, front=True)
            self.ring(record.queue)

    def trim(self, state: State, most: int) -> int:
        """Push the oldest finished jobs of one state out over its bound."""
        kept = self.by_state[state]
        bound: int = getattr(self.policy, f"{state.value}_count")
        over = min(max(len(kept) - bound, 0), most)
        for record in list(islice(kept.values(), over)):
            self.move(record, Move.FORGET, 0)
        return over

    def deaths_in(self, queue: str, most: int) -> list[Death]:
        """Take up to so many deaths out, to be told of by whoever asks."""
        told, self.deaths[queue] = self.deaths[queue][:most], self.deaths[queue][most:]
        return told

    # Reading

    def has_left(self, worker: str, now: int) -> bool:
        """This worker has left, and what it asks is late."""
        return worker in self.left and now < self.left[worker] + LATE

    def orders_of(self, worker: str, now: int) -> Ordered:
        """What is kept of a worker's orders."""
        its = self.orders.get(worker)
        if its is None or its.until <= now:
            its = self.orders[worker] = Ordered()
        return its

    def waiting_for(self, worker: str, now: int) -> tuple[Order, ...]:
        """What a worker has not heard yet."""
        waiting = self.orders_of(worker, now).waiting
        return tuple(waiting[kind] for kind in ("course", "stack") if kind in waiting)


def job_of(record: Record) -> Job:
    """A record as a reader sees it."""
    fields: dict[str, Any] = {
        "jid": record.jid,
        "queue": record.queue,
        "state": record.state,
        "priority": record.priority,
        "attempt": record.attempt,
        "crashes": record.crashes,
        "enqueued_at": record.enqueued_at,
        "due_at": record.due_at,
        "start_at": record.start_at,
        "finish_at": record.finish_at,
        "expires_at": record.expires_at,
        "worker": record.worker,
        "reason": record.reason,
        "cancel_asked": record.cancel,
        "progress": record.progress,
        "failures": tuple(msgspec.json.decode(line, type=Failure) for line in record.failures),
        "result": None if record.result is None else msgspec.Raw(record.result),
    }
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        spec = decode_spec(record.spec)
        args = msgspec.json.decode(spec.args, type=dict[str, Any])
        return Job(name=spec.name, args=args, **msgspec.structs.asdict(spec.options), **fields)
    return Job(name="", args={}, raw=record.spec, **fields)
