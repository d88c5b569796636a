"""Memory and a real server, asked the same: every verb as a rule, and what must hold after each step.

The memory database is the specification. Beside both stands a ledger of claims, kept by the test alone: which claim of
a job is the current one, and which outcome ended it. By it an outcome must be accepted or refused, whatever both say.
`faults.py` adds what goes wrong between two steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from procession.database import Beat, Database, Policy, Query, Revision
from procession.database import open as open_database
from procession.database.queue import Claims
from procession.job import Crash, NewJob, Outcome, State
from procession.limits import Slot
from procession.moves import MOVES, Move
from procession.testing.contract.invariants import check_invariants
from procession.unique import Unique

NOW = 1_800_000_000_000
LEASE = 15_000
FAILURE = b'{"attempt":1,"type":"E","message":""}'
POLICY = Policy(processed_count=4, failed_count=4, cancelled_count=4)
SETTLING = sorted(move for move, row in MOVES.items() if row.fenced)
NUMBERS = count(1)

jobs_at = st.integers(0, 30)
queues = st.sampled_from(["a", "b"])
workers = st.sampled_from(["v", "w"])
delays = st.sampled_from([0, 0, 50, 4_000])
slots = st.sampled_from(
    [None, None, Slot(limit=b"l" * 16, most=1), Slot(limit=b"l" * 16, most=2), Slot(limit=b"m" * 16, most=1)]
)
LIMITS = {"l": 2, "m": 1}
"""What a job of a limit says it is called, and how many may run by the largest word on it."""


class Ledger:
    """The claims of all jobs, as far as they matter."""

    def __init__(self) -> None:
        self.current: dict[UUID, tuple[str, bytes]] = {}
        """Running jobs: their worker and the token of the claim that counts."""
        self.ended: dict[UUID, bytes] = {}
        """Final jobs: the token of the claim whose outcome it was."""

    def claimed(self, worker: str, token: bytes, jids: Sequence[UUID]) -> None:
        """A claim answered. A job that it names runs nowhere else."""
        for jid in jids:
            assert self.current.get(jid, (worker, token)) == (worker, token), "handed out while another claim counts"
            self.current[jid] = (worker, token)
            self.ended.pop(jid, None)

    def settled(self, outcome: Outcome, accepted: bool, final: bool) -> None:
        """An outcome was answered. It counts if its claim does; and it is known again once it ended the job."""
        _, token = self.current.get(outcome.jid, ("", b""))
        if token == outcome.token:
            assert accepted, "the outcome of the current claim was refused"
            del self.current[outcome.jid]
            if final:
                self.ended[outcome.jid] = outcome.token
        else:
            known = self.ended.get(outcome.jid) == outcome.token
            assert accepted == known, f"{outcome.move} of a claim that does not count was accepted: {accepted}"

    def taken_back(self, jid: UUID) -> None:
        """A job was taken from its worker: no outcome of that claim counts any more."""
        self.current.pop(jid, None)

    def compared(self, running: set[UUID], final: set[UUID]) -> None:
        """After each step: what runs runs under a known claim."""
        assert running == set(self.current), "a job runs without a claim, or a claim is held without a job"
        self.ended = {jid: token for jid, token in self.ended.items() if jid in final}


class Twins(RuleBasedStateMachine):
    """Drives both databases; `url` is set by the test."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.namespace = f"model{next(NUMBERS)}"
        self.databases = [
            open_database(url, namespace=self.namespace, policy=POLICY, now=lambda: self.now)
            for url in (f"memory://{self.namespace}", self.url)
        ]
        self.connections = [database.connect(30.0) for database in self.databases]
        self.jids: list[UUID] = []
        self.tokens: list[tuple[UUID, bytes]] = []
        self.ledger = Ledger()
        self.made = 0
        self.lives = {"v": 0, "w": 0}
        self.gone = ["nobody"]
        """Workers that have left; what they asked before may come late."""

    # Asking both

    def each(self, verb: Callable[[Database], Any]) -> list[Any]:
        """The answers of both."""
        return [
            connection.ask(verb(database))
            for database, connection in zip(self.databases, self.connections, strict=True)
        ]

    def both(self, verb: Callable[[Database], Any]) -> Any:
        """Ask both, compare, answer."""
        first, second = self.each(verb)
        assert first == second
        return first

    def new_token(self) -> bytes:
        """As good as random, and the same for the same steps."""
        self.made += 1
        return hashlib.sha256(str(self.made).encode()).digest()[:16]

    def named(self, worker: str) -> str:
        """The name of this worker's present life: each start has a new one."""
        return f"{worker}{self.lives[worker]}"

    def jid(self, at: int) -> UUID:
        return self.jids[at % len(self.jids)] if self.jids else UUID(int=1)

    def ask_claim(
        self, names: list[str], worker: str, token: bytes, limit: int, after: bytes = b"", ageing: int = 0
    ) -> Claims:
        """Claim from both; the fence alone may differ."""
        first, second = self.each(
            lambda it: it.claim(names, worker, token, limit=limit, lease=LEASE, after=after, ageing=ageing)
        )
        assert [(it.jid, it.queue, it.spec, it.attempt, it.crashes) for it in first.jobs] == [
            (it.jid, it.queue, it.spec, it.attempt, it.crashes) for it in second.jobs
        ]
        assert (first.now, first.next_due) == (second.now, second.next_due)
        self.ledger.claimed(worker, token, [it.jid for it in first.jobs])
        self.tokens += [(it.jid, token) for it in first.jobs]
        claims: Claims = first
        return claims

    def ask_settle(self, worker: str, outcomes: list[Outcome]) -> list[bool]:
        """Settle one after the other in one question, and hold the answers against the ledger."""
        accepted: list[bool] = self.both(lambda database: database.settle(worker, outcomes))
        jobs = self.both(lambda database: database.find([it.jid for it in outcomes]))
        for outcome, answer, job in zip(outcomes, accepted, jobs, strict=True):
            self.ledger.settled(outcome, answer, final=job is None or job.state.final)
        return accepted

    def ask_beat(self, worker: str, limit: int) -> Beat:
        """Beat at both, as a set of what is held."""
        with self.taking_back(self.lease_ended(but=worker)):
            first, second = self.each(
                lambda it: it.heartbeat(worker, lease=LEASE, info=b"{}", queues=["a", "b"], limit=limit)
            )
        assert {(it.jid, it.token, it.cancel) for it in first.held} == {
            (it.jid, it.token, it.cancel) for it in second.held
        }
        assert (first.left, sorted(first.deaths)) == (second.left, sorted(second.deaths))
        beat: Beat = first
        return beat

    # Taking back

    def lease_ended(self, *, but: str = "") -> set[str]:
        """The workers whose jobs may be taken back now."""
        known = self.both(lambda database: database.workers())
        return {it.id for it in known if it.lease_until <= self.now and it.id != but}

    @contextmanager
    def taking_back(self, dead: set[str]) -> Iterator[None]:
        """A step that may take jobs back: from these workers, and from no other."""
        before = self.crashes()
        yield
        after = self.crashes()
        for jid, crashes in before.items():
            if after.get(jid) != crashes:
                worker, _ = self.ledger.current[jid]
                assert worker in dead, f"a job was taken back from {worker}, whose lease has not ended"
                self.ledger.taken_back(jid)

    def crashes(self) -> dict[UUID, int]:
        """The running jobs and how often their worker died."""
        found = self.each(lambda database: database.find([*self.ledger.current]))[0]
        return {job.jid: job.crashes for job in found if job is not None and job.state is State.RUNNING}

    # Rules: every verb

    @rule(queue=queues, priority=st.integers(-1, 1), delay=delays, expires=st.sampled_from([0, 0, 3_000]), slot=slots)
    def enqueue(self, queue: str, priority: int, delay: int, expires: int, slot: Slot | None) -> None:
        self.made += 1
        jid = UUID(int=self.made + (1 << 100))
        self.jids.append(jid)
        self.ask_enqueue(jid, queue=queue, priority=priority, delay=delay, expires_in=expires, slot=slot)

    @rule(
        key=st.sampled_from([b"k" * 16, b"l" * 16]),
        until=st.sampled_from([None, "start", "processed", "done"]),
        window=st.sampled_from([0, 0, 2_000]),
        conflict=st.sampled_from(["keep", "replace"]),
        delay=delays,
        at_most=st.sampled_from([0, 60]),
        queue=queues,
        deadline=st.sampled_from([0, 0, 2_500]),
        slot=slots,
    )
    def enqueue_unique(self, delay: int, queue: str, deadline: int, slot: Slot | None, **words: Any) -> None:
        self.made += 1
        jid = UUID(int=self.made + (1 << 100))
        words["window"] = words["window"] or (1_000 if words["until"] is None else 0)
        spec = b'["f",{"n":%d}%s]' % (self.made, named(slot))
        plan: dict[str, Any] = {"queue": queue, "delay": delay, "deadline": deadline, "slot": slot}
        job = NewJob(jid=jid, spec=spec, unique=Unique(**words), **plan)
        stored = self.both(lambda database: database.enqueue([job]))[0]
        if stored.new:
            self.jids.append(jid)
        else:
            assert self.both(lambda database: database.find([stored.jid]))[0] is not None, "held by a job that is gone"

    @rule(at=jobs_at, queue=queues)
    def enqueue_again(self, at: int, queue: str) -> None:
        if self.jids:
            self.ask_enqueue(self.jid(at), queue=queue)

    def ask_enqueue(self, jid: UUID, **options: Any) -> None:
        job = NewJob(jid=jid, spec=b'["f",{}%s]' % named(options.get("slot")), **options)
        there = self.both(lambda database: database.find([jid]))[0] is not None
        assert self.both(lambda database: database.enqueue([job]))[0].new is not there

    @rule(
        names=st.permutations(["a", "b"]),
        worker=workers,
        limit=st.integers(0, 3),
        ageing=st.sampled_from([0, 0, 1, 2_000]),
    )
    def claim(self, names: list[str], worker: str, limit: int, ageing: int) -> None:
        self.ask_claim(names, self.named(worker), self.new_token(), limit, ageing=ageing)

    @rule(at=jobs_at, move=st.sampled_from(SETTLING), delay=st.sampled_from([0, 100, 5_000]), worker=workers)
    def settle(self, at: int, move: Move, delay: int, worker: str) -> None:
        if self.tokens:
            jid, token = self.tokens[-1 - at % len(self.tokens)]
            owner, _ = self.ledger.current.get(jid, (worker, b""))
            self.ask_settle(owner, [outcome_of(jid, token, move, delay)])

    @rule(at=jobs_at)
    def cancel(self, at: int) -> None:
        self.both(lambda database: database.cancel([self.jid(at)], "c"))

    @rule(at=jobs_at)
    def retry(self, at: int) -> None:
        self.both(lambda database: database.retry([self.jid(at)]))

    @rule(at=jobs_at, as_read=st.booleans(), key=st.sampled_from([b"", b"k" * 16, b"l" * 16]))
    def revise(self, at: int, as_read: bool, key: bytes) -> None:
        jid = self.jid(at)
        (found,) = self.both(lambda database: database.find([jid]))
        read = found.finish_at if found is not None and as_read else 1
        asked = Revision(jid=jid, finish_at=read, spec=b'["f",{"n":1}]', key=key)
        self.both(lambda database: database.revise([asked]))

    @rule(at=jobs_at)
    def remove(self, at: int) -> None:
        self.both(lambda database: database.remove([self.jid(at)]))

    @rule(queue=queues, limit=st.integers(1, 3))
    def purge(self, queue: str, limit: int) -> None:
        self.both(lambda database: database.purge(queue, limit))

    @rule(queue=queues, on=st.booleans())
    def pause_or_resume(self, queue: str, on: bool) -> None:
        self.both(lambda database: database.pause([queue], "p") if on else database.resume([queue]))

    @rule(limit=st.integers(1, 4))
    def promote(self, limit: int) -> None:
        self.both(lambda database: database.promote(limit))

    @rule(limit=st.integers(1, 4))
    def recover(self, limit: int) -> None:
        with self.taking_back(self.lease_ended()):
            self.both(lambda database: database.recover(limit, lease=LEASE))

    @rule(worker=workers, crash=st.sampled_from([None, Crash(how="signal 9", memory=5)]))
    def leave(self, worker: str, crash: Crash | None) -> None:
        name = self.named(worker)
        with self.taking_back({name}):
            self.both(lambda database: database.leave(name, crash=crash))
        self.lives[worker] += 1
        self.gone.append(name)

    @rule(at=jobs_at, limit=st.integers(1, 3))
    def late_questions_of_one_that_left(self, at: int, limit: int) -> None:
        name = self.gone[-1 - at % len(self.gone)]
        self.ask_beat(name, limit)
        self.ask_claim(["a", "b"], name, self.new_token(), limit)

    @rule(worker=workers, limit=st.integers(0, 3))
    def heartbeat(self, worker: str, limit: int) -> None:
        self.ask_beat(self.named(worker), limit)

    @rule(worker=workers, at=jobs_at)
    def extend(self, worker: str, at: int) -> None:
        names = [self.named(worker), self.gone[at % len(self.gone)]]
        self.both(lambda database: database.extend(names, lease=LEASE))

    @rule(limit=st.integers(1, 4))
    def prune(self, limit: int) -> None:
        self.both(lambda database: database.prune(limit))

    @rule(passed=st.sampled_from([1, 60, 3_000, 7_000, 20_000, 25 * 3_600_000]))
    def time_passes(self, passed: int) -> None:
        self.now += passed

    # After each step

    @invariant()
    def agree(self) -> None:
        self.both(lambda database: database.find(self.jids))
        self.both(lambda database: database.occupancy(self.jids))
        self.both(lambda database: database.counts())
        self.both(lambda database: database.queues())
        self.both(lambda database: database.workers())
        found: dict[State, set[UUID]] = {}
        for state in State:
            query = Query(state=state)
            first, second = self.each(lambda database, query=query: database.page(query, limit=100))  # type: ignore[misc]
            assert first.jobs == second.jobs
            found[state] = {job.jid for job in first.jobs}
            if state is State.RUNNING:
                running = [job.limit for job in first.jobs]
                assert all(running.count(name) <= most for name, most in LIMITS.items()), running
        for queue in ("a", "b"):
            self.both(lambda database, queue=queue: database.peek(queue, limit=5))  # type: ignore[misc]
            self.both(lambda database, queue=queue: database.peek(queue, limit=5, rear=True))  # type: ignore[misc]
        final = found[State.PROCESSED] | found[State.FAILED] | found[State.CANCELLED]
        self.ledger.compared(found[State.RUNNING], final)
        check_invariants(self.databases[1], self.connections[1].ask)

    def teardown(self) -> None:
        for database, connection in zip(self.databases, self.connections, strict=True):
            connection.ask(database.flush())
            connection.close()


def named(slot: Slot | None) -> bytes:
    """What the spec of a job under a limit says more."""
    return b"" if slot is None else b',{"limit":"%s"}' % slot.limit[:1]


def outcome_of(jid: UUID, token: bytes, move: Move, delay: int = 0) -> Outcome:
    """An outcome with everything that one may carry."""
    return Outcome(jid=jid, token=token, move=move, delay=delay, reason="r", value=b"1", failure=FAILURE)
