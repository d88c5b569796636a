"""The verbs of the seam over `Store`: each a few lines that say what the docstring in the protocol promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec

from procession.clock import monotonic
from procession.database import (
    Audit,
    Beat,
    Claims,
    Counts,
    Held,
    Inspection,
    Operation,
    Page,
    Promoted,
    Query,
    QueueInfo,
    WorkerInfo,
)
from procession.database.memory.health import contradictions, last_words
from procession.database.memory.index import SPOTS, Record, cursor_of, spot_of
from procession.database.memory.limits import LimitVerbs
from procession.database.memory.measures import MeasureVerbs
from procession.database.memory.revision import RevisionVerbs, revive
from procession.database.memory.store import Store, job_of
from procession.database.memory.unique import bind, conflict, take_key
from procession.database.shelf import check_cursor, described_worker
from procession.job import FINAL, Claimed, Crash, Job, NewJob, Outcome, State, Stored
from procession.moves import Move

T = TypeVar("T")

UNCHARGED = (Move.SNOOZE, Move.RELEASE, Move.POSTPONE)
AGES = {State.PROCESSED: "processed_age", State.FAILED: "failed_age", State.CANCELLED: "cancelled_age"}


class Verbs(MeasureVerbs, LimitVerbs, RevisionVerbs, ABC):
    """All verbs; `operation` turns a function into a question."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self.store = store
        self.now = now

    @abstractmethod
    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""

    # Hot

    def enqueue(self, jobs: Sequence[NewJob]) -> Operation[list[Stored]]:
        """See `Queue.enqueue`."""
        return self.operation(lambda: [self._enqueue(job) for job in jobs])

    def _enqueue(self, job: NewJob) -> Stored:
        store, now = self.store, self.now()
        if job.jid in store.jobs:
            return Stored(job.jid, False)
        due = now + job.delay if job.delay else job.at
        expires = now + job.expires_in if job.expires_in else job.expires_at
        if (holder := conflict(store, job, due, expires, now)) is not None:
            return Stored(holder.jid, False)
        record = Record(job.jid, job.spec, job.queue, job.priority, now, expires)
        bind(store, record, job, now)
        first = store.next_due()
        store.queue_names.add(job.queue)
        store.happened("enqueued", job.queue, now)
        store.slots.said(record, ready=due <= now)
        if due > now:
            record.state, record.due_at = State.DELAYED, due
            store.enter(record)
            if not first or due < first:
                store.ring(job.queue)
        elif store.takes_slot(record, now):
            store.enter(record)
            store.ring(job.queue)
        else:
            record.state = State.BLOCKED
            store.enter(record)
            store.slots.waits(record)
        return Stored(job.jid, True)

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
        """See `Queue.claim`."""

        def run() -> Claims:
            store, now, own = self.store, self.now(), [f"@{worker}"] if lease else []
            last, held = store.tokens.get(worker), [it for it in store.held_by(worker) if it.token == token]
            taken, may_follow = sorted(held, key=lambda it: it.place), False
            if last is None and not taken and store.has_left(worker, now):
                return Claims([], now, store.next_due(), store.heard(own) is not None)
            if last != token and not taken:
                store.tokens[worker] = token
                in_turn = last is None or after in (b"", last)
                taken, may_follow = self._take(queues, worker, token, limit if in_turn else 0, ageing)
            store.leases[worker] = max(store.leases.get(worker, 0), now + lease)
            store.info.setdefault(worker, (now, b"{}"))
            zero, jobs = now - round(monotonic() * 1_000), []
            for record in taken:
                waited = None if last == token else record.waited
                store.fence = max(now * 1_000, store.fence + 1)
                it, left = record, record.deadline - now if record.deadline else None
                facts = (it.jid, token, it.queue, it.spec, it.attempt, it.crashes, store.fence)
                jobs.append(Claimed(*facts, left, waited, zero))
            more = may_follow and len(taken) < limit
            return Claims(jobs, now, store.next_due(), store.heard(own) is not None, more)

        return self.operation(run)

    def _take(
        self, queues: Sequence[str], worker: str, token: bytes, limit: int, ageing: int
    ) -> tuple[list[Record], bool]:
        store, now, may_follow = self.store, self.now(), False
        taken: list[Record] = []
        for queue in queues:
            if queue in store.paused:
                continue
            while len(taken) < limit and (record := store.first_in(queue, ageing, now)):
                if 0 < record.expires_at <= now and not record.attempt:
                    store.move(record, Move.EXPIRE, now, reason="expired")
                    may_follow = may_follow or record.slot is not None
                    continue
                record.waited = record.waits(now)
                store.move(record, Move.CLAIM, now)
                record.attempt = min(record.attempt + 1, 65_535)
                record.worker, record.token, record.start_at, record.finish_at = worker, token, now, 0
                record.cancel, record.place = False, len(taken)
                taken.append(record)
            if store.depth(queue):
                store.ring(queue)
        return taken, may_follow

    def settle(self, worker: str, outcomes: Sequence[Outcome]) -> Operation[list[bool]]:
        """See `Queue.settle`."""

        def run() -> list[bool]:
            answers, ended = [], Counter[State]()
            for outcome in outcomes:
                record = self.store.jobs.get(outcome.jid)
                ran = record is not None and record.state is State.RUNNING
                answers.append(self._settle(outcome))
                if record is not None and ran and record.state.final:
                    ended[record.state] += 1
            for state, number in ended.items():
                self.store.trim(state, 2 * number + 10)
            return answers

        return self.operation(run)

    def _settle(self, outcome: Outcome) -> bool:
        store, now = self.store, self.now()
        record = store.jobs.get(outcome.jid)
        if record is None or record.token != outcome.token or not outcome.token:
            return False
        if record.state is not State.RUNNING:
            return record.state.final
        move = Move(outcome.move)
        if outcome.failure:
            store.add_failure(record, outcome.failure)
        if move is Move.CRASH:
            store.crashed(record, move, now)
            return True
        if move in UNCHARGED:
            record.attempt = max(record.attempt - 1, 0)
        if record.cancel and move is not Move.PROCESS:
            store.move(record, Move.DISCARD, now, reason=record.reason)
            return True
        if move is Move.PROCESS:
            record.result = outcome.value
        if move is Move.RETRY:
            store.happened("retried", record.queue, now)
        due = now + outcome.delay if move in (Move.RETRY, Move.SNOOZE, Move.POSTPONE) else 0
        first = store.next_due()
        store.move(record, move, now, reason=outcome.reason, due=due, front=True)
        if move is Move.RELEASE or (due and (not first or due < first)):
            store.ring(record.queue)
        return True

    def heartbeat(
        self, worker: str, *, lease: int, info: bytes, queues: Sequence[str] = (), limit: int = 0
    ) -> Operation[Beat]:
        """See `Queue.heartbeat`."""

        def run() -> Beat:
            store, now = self.store, self.now()
            left = store.has_left(worker, now)
            if not left:
                store.leases[worker] = now + lease
                store.info[worker] = (now, info)
            recovered = len(self._recover(limit, lease)) if limit else 0
            if limit:
                self._promote(limit)
                store.ledger.add({}, now)
            ready = any(store.depth(queue) and queue not in store.paused for queue in queues)
            held = [Held(it.jid, it.token, it.cancel) for it in store.held_by(worker)]
            deaths = [death for queue in queues if limit for death in store.deaths_in(queue, 100)]
            orders = store.waiting_for(worker, now)
            return Beat(
                held, now, store.next_due(), ready, recovered, left=left, deaths=deaths, orders=orders
            )

        return self.operation(run)

    def extend(self, workers: Sequence[str], *, lease: int) -> Operation[None]:
        """See `Queue.extend`."""

        def run() -> None:
            for worker in workers:
                if worker in self.store.leases:
                    self.store.leases[worker] = self.now() + lease

        return self.operation(run)

    def promote(self, limit: int) -> Operation[Promoted]:
        """See `Queue.promote`."""
        return self.operation(lambda: Promoted(self._promote(limit), self.now(), self.store.next_due()))

    def _promote(self, limit: int) -> int:
        store, now = self.store, self.now()
        store.miss_deadlines(limit, now)
        promoted = 0
        for record in store.each_due(now, limit):
            promoted += 1
            if 0 < record.expires_at <= now and not record.attempt:
                store.move(record, Move.EXPIRE, now, reason="expired")
            else:
                store.ready(record, Move.PROMOTE, now, reason=record.reason, due=record.due_at)
        return promoted

    def recover(self, limit: int, *, lease: int) -> Operation[list[UUID]]:
        """See `Queue.recover`."""
        return self.operation(lambda: self._recover(limit, lease))

    def _recover(self, limit: int, lease: int) -> list[UUID]:
        store, now = self.store, self.now()
        last = now if store.recovered_at is None else store.recovered_at
        if abs(now - last) > lease / 2:
            store.grace_until = now + lease
        store.recovered_at = now
        taken: list[UUID] = []
        if now < store.grace_until:
            return taken
        for _, worker in sorted((until, worker) for worker, until in store.leases.items() if until <= now):
            crash = last_words(store.info[worker][1], len(store.held_by(worker)) - 1)
            if not self._take_back_all(worker, limit - len(taken), crash.how, taken, crash):
                break
        return taken

    def leave(self, worker: str, *, crash: Crash | None = None) -> Operation[list[UUID]]:
        """See `Queue.leave`."""

        def run() -> list[UUID]:
            taken: list[UUID] = []
            self._take_back_all(worker, 100_000, crash.how if crash else "worker left", taken, crash)
            self.store.left[worker] = self.now()
            return taken

        return self.operation(run)

    def _take_back_all(self, worker: str, limit: int, how: str, taken: list[UUID], crash: Crash | None = None) -> bool:
        held = sorted(self.store.held_by(worker), key=lambda it: (it.start_at, it.token, it.place), reverse=True)
        for record in held[:limit]:
            self.store.take_back(record, self.now(), how, crash)
            taken.append(record.jid)
        if len(held) > limit:
            return False
        self.store.leases.pop(worker, None)
        self.store.info.pop(worker, None)
        self.store.tokens.pop(worker, None)
        self.store.orders.pop(worker, None)
        return True

    def prune(self, limit: int) -> Operation[int]:
        """See `Queue.prune`."""

        def run() -> int:
            store, gone = self.store, 0
            store.fade(self.now())
            for state, age in AGES.items():
                oldest = self.now() - getattr(store.policy, age)
                for record in [it for it in store.in_order(state) if it.finish_at <= oldest][: limit - gone]:
                    store.move(record, Move.FORGET, self.now())
                    gone += 1
                gone += store.trim(state, limit - gone)
            return gone

        return self.operation(run)

    # Calm

    def find(self, jids: Sequence[UUID]) -> Operation[list[Job | None]]:
        """See `Jobs.find`."""
        return self.operation(
            lambda: [job_of(self.store.jobs[jid]) if jid in self.store.jobs else None for jid in jids]
        )

    def page(self, query: Query, *, cursor: str | None = None, limit: int = 50) -> Operation[Page]:
        """See `Jobs.page`. The cursor is the spot of the last job."""
        ended = check_cursor(cursor, "/".join(SPOTS[query.state]), query.state)
        after = spot_of(ended, query.state) if ended else ()

        def run() -> Page:
            records = [it for it in self.store.paged(query.state, query.queue) if it.spot > after]
            if query.name:
                records = [it for it in records if job_of(it).name == query.name]
            more = 0 < limit < len(records)
            return Page([*map(job_of, records[:limit])], cursor_of(records[limit - 1].spot) if more else None)

        return self.operation(run)

    def watch(self, jids: Sequence[UUID], waiter: str) -> Operation[list[State | None]]:
        """See `Jobs.watch`."""

        def run() -> list[State | None]:
            for jid in jids:
                if jid in self.store.jobs and not self.store.jobs[jid].state.final:
                    self.store.watchers[jid][waiter] = self.now()
            return [self._state(jid) for jid in jids]

        return self.operation(run)

    def cancel(self, jids: Sequence[UUID], reason: str = "cancelled") -> Operation[list[State | None]]:
        """See `Jobs.cancel`."""

        def cancel(record: Record) -> None:
            if record.state is State.RUNNING:
                record.cancel, record.reason = True, reason[:200]
                self.store.ring(f"@{record.worker}", self.now())
            elif not record.state.final:
                self.store.move(record, Move.CANCEL, self.now(), reason=reason)

        def run() -> list[State | None]:
            found = self._changed(jids, cancel)
            self.store.trim(State.CANCELLED, 2 * len(jids) + 10)
            return found

        return self.operation(run)

    def retry(self, jids: Sequence[UUID]) -> Operation[list[State | None]]:
        """See `Jobs.retry`."""

        def retry(record: Record) -> State | None:
            if not record.state.final:
                return None
            if not take_key(self.store, record, self.now()):
                return State.BLOCKED
            revive(self.store, record, self.now())
            return None

        return self._each(jids, retry)

    def remove(self, jids: Sequence[UUID]) -> Operation[list[State | None]]:
        """See `Jobs.remove`."""

        def remove(record: Record) -> None:
            if record.state is not State.RUNNING:
                self.store.move(record, Move.REMOVE, self.now())

        return self._each(jids, remove)

    def _each(self, jids: Sequence[UUID], change: Callable[[Record], State | None]) -> Operation[list[State | None]]:
        return self.operation(lambda: self._changed(jids, change))

    def _changed(self, jids: Sequence[UUID], change: Callable[[Record], State | None]) -> list[State | None]:
        found: list[State | None] = []
        for jid in jids:
            found.append(self._state(jid))
            if jid in self.store.jobs:
                found[-1] = change(self.store.jobs[jid]) or found[-1]
        return found

    def _state(self, jid: UUID) -> State | None:
        return self.store.jobs[jid].state if jid in self.store.jobs else None

    def queues(self) -> Operation[list[QueueInfo]]:
        """See `Queues.queues`."""

        def run() -> list[QueueInfo]:
            found = []
            for name in sorted(self.store.queue_names):
                records = self.store.queued_in(name)
                at, reason, by = self.store.paused.get(name, (0, "", ""))
                oldest = records[0].ready_since if records else 0
                paused = name in self.store.paused
                info = QueueInfo(name=name, queued=len(records), paused=paused, reason=reason, paused_by=by)
                found.append(msgspec.structs.replace(info, paused_at=at, oldest=oldest))
            return found

        return self.operation(run)

    def pause(self, queues: Sequence[str], reason: str = "", by: str = "") -> Operation[None]:
        """See `Queues.pause`."""

        def run() -> None:
            self.store.queue_names.update(queues)
            self.store.paused.update({queue: (self.now(), reason, by) for queue in queues})

        return self.operation(run)

    def resume(self, queues: Sequence[str]) -> Operation[None]:
        """See `Queues.resume`."""

        def run() -> None:
            for queue in queues:
                if self.store.paused.pop(queue, None) is not None:
                    self.store.ring(queue)

        return self.operation(run)

    def peek(self, queue: str, *, limit: int = 1, rear: bool = False) -> Operation[list[Job]]:
        """See `Queues.peek`."""

        def run() -> list[Job]:
            records = self.store.queued_in(queue)
            return [job_of(record) for record in (records[::-1] if rear else records)[:limit]]

        return self.operation(run)

    def purge(self, queue: str, limit: int) -> Operation[int]:
        """See `Queues.purge`."""

        def run() -> int:
            records = self.store.queued_in(queue)[:limit]
            for record in records:
                self.store.move(record, Move.REMOVE, self.now())
            return len(records)

        return self.operation(run)

    def clock(self) -> Operation[int]:
        """See `Watch.clock`."""
        return self.operation(self.now)

    def counts(self) -> Operation[Counts]:
        """See `Watch.counts`."""

        def run() -> Counts:
            here = {state: len(self.store.by_state[state]) for state in State}
            kept = {f"kept_{state.value}": here[state] for state in FINAL}
            waiting = (State.QUEUED, State.DELAYED, State.BLOCKED, State.RUNNING)
            return Counts(**self.store.counters, **kept, **{state.value: here[state] for state in waiting})

        return self.operation(run)

    def workers(self) -> Operation[list[WorkerInfo]]:
        """See `Watch.workers`."""

        def run() -> list[WorkerInfo]:
            found = []
            for worker, until in sorted(self.store.leases.items(), key=lambda it: (it[1], it[0])):
                beat_at, info = self.store.info[worker]
                fields = {
                    "id": worker,
                    "beat_at": beat_at,
                    "lease_until": until,
                    "running": len(self.store.held_by(worker)),
                }
                found.append(described_worker(info, fields))
            return found

        return self.operation(run)

    def flush(self) -> Operation[None]:
        """See `Watch.flush`."""
        return self.operation(self.store.clear)

    def audit(
        self, cursor: str | None = None, *, limit: int = 500, mend: bool = False, lease: int, shelf: str | None = None
    ) -> Operation[Audit]:
        """See `Health.audit`. One page; nothing is lost from a dict, so there is nothing to mend."""
        return self.operation(
            lambda: Audit(findings=contradictions(self.store), cursor=None, checked=len(self.store.jobs))
        )

    def inspect(self) -> Operation[Inspection]:
        """See `Health.inspect`."""

        def run() -> Inspection:
            now = self.now()
            expired = sum(until <= now for until in self.store.leases.values())
            return Inspection(kind="memory", now=now, policy="noeviction", append_only=False, expired_leases=expired)

        return self.operation(run)
