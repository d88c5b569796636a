"""The same random moves on memory and on a real server: every answer, job, counter and queue must agree after each
step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from procession.database import Database, Policy, Query
from procession.database import open as open_database
from procession.job import Crash, NewJob, Outcome, State
from procession.moves import MOVES, Move
from tests.contract.invariants import check_invariants

NOW = 1_800_000_000_000
LEASE = 15_000
FAILURE = b'{"attempt":1,"type":"E","message":""}'
POLICY = Policy(processed_count=4, failed_count=4, cancelled_count=4)
SETTLING = sorted(move for move, row in MOVES.items() if row.fenced)
NUMBERS = count(1)

jobs_at = st.integers(0, 30)
queues = st.sampled_from(["a", "b"])
workers = st.sampled_from(["v", "w"])


class Twins(RuleBasedStateMachine):
    """Drives both databases; `url` is set by the test."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        namespace = f"model{next(NUMBERS)}"
        self.databases = [
            open_database(url, namespace=namespace, policy=POLICY, now=lambda: self.now)
            for url in (f"memory://{namespace}", self.url)
        ]
        self.connections = [database.connect() for database in self.databases]
        self.jids: list[UUID] = []
        self.tokens: list[tuple[UUID, bytes]] = []
        self.made = 0

    def both(self, verb: Callable[[Database], Any]) -> Any:
        """Ask both, compare, answer."""
        first, second = (
            connection.ask(verb(database))
            for database, connection in zip(self.databases, self.connections, strict=True)
        )
        assert first == second
        return first

    def jid(self, at: int) -> UUID:
        return self.jids[at % len(self.jids)] if self.jids else UUID(int=1)

    @rule(
        queue=queues,
        priority=st.integers(-1, 1),
        delay=st.sampled_from([0, 0, 50, 4_000]),
        expires=st.sampled_from([0, 0, 3_000]),
        again=st.booleans(),
        at=jobs_at,
    )
    def enqueue(self, queue: str, priority: int, delay: int, expires: int, again: bool, at: int) -> None:
        if again and self.jids:
            jid = self.jid(at)
        else:
            self.made += 1
            jid = UUID(int=self.made + (1 << 100))
            self.jids.append(jid)
        job = NewJob(
            jid=jid, spec=b'{"name":"f","args":{}}', queue=queue, priority=priority, delay=delay, expires_in=expires
        )
        self.both(lambda database: database.enqueue([job]))

    @rule(names=st.permutations(["a", "b"]), worker=workers, limit=st.integers(0, 3))
    def claim(self, names: list[str], worker: str, limit: int) -> None:
        self.made += 1
        token = self.made.to_bytes(16, "big")
        claims = [
            connection.ask(database.claim(names, worker, token, limit=limit, lease=LEASE))
            for database, connection in zip(self.databases, self.connections, strict=True)
        ]
        first, second = ([(it.jid, it.queue, it.spec, it.attempt, it.crashes) for it in claim.jobs] for claim in claims)
        assert first == second
        assert (claims[0].now, claims[0].next_due) == (claims[1].now, claims[1].next_due)
        self.tokens += [(it.jid, token) for it in claims[0].jobs]

    @rule(at=jobs_at, move=st.sampled_from(SETTLING), delay=st.sampled_from([0, 100, 5_000]), worker=workers)
    def settle(self, at: int, move: Move, delay: int, worker: str) -> None:
        if not self.tokens:
            return
        jid, token = self.tokens[-1 - at % len(self.tokens)]
        job = self.connections[0].ask(self.databases[0].find([jid]))[0]
        owner = job.worker if job is not None and job.worker else worker
        outcome = Outcome(jid=jid, token=token, move=move, delay=delay, reason="r", value=b"1", failure=FAILURE)
        self.both(lambda database: database.settle(owner, [outcome]))

    @rule(at=jobs_at)
    def cancel(self, at: int) -> None:
        self.both(lambda database: database.cancel([self.jid(at)], "c"))

    @rule(at=jobs_at)
    def retry(self, at: int) -> None:
        self.both(lambda database: database.retry([self.jid(at)]))

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
        self.both(lambda database: database.recover(limit, lease=LEASE))

    @rule(worker=workers, crash=st.sampled_from([None, Crash(how="signal 9", memory=5)]))
    def leave(self, worker: str, crash: Crash | None) -> None:
        self.both(lambda database: database.leave(worker, crash=crash))

    @rule(worker=workers, limit=st.integers(0, 3))
    def heartbeat(self, worker: str, limit: int) -> None:
        first, second = (
            {
                (it.jid, it.token, it.cancel)
                for it in connection.ask(database.heartbeat(worker, lease=LEASE, info=b"{}", limit=limit)).held
            }
            for database, connection in zip(self.databases, self.connections, strict=True)
        )
        assert first == second

    @rule(limit=st.integers(1, 4))
    def prune(self, limit: int) -> None:
        self.both(lambda database: database.prune(limit))

    @rule(passed=st.sampled_from([1, 60, 3_000, 7_000, 20_000, 25 * 3_600_000]))
    def time_passes(self, passed: int) -> None:
        self.now += passed

    @invariant()
    def agree(self) -> None:
        self.both(lambda database: database.find(self.jids))
        self.both(lambda database: database.counts())
        self.both(lambda database: database.queues())
        for state in State:
            query = Query(state=state)
            first, second = (
                connection.ask(database.page(query, limit=100)).jobs
                for database, connection in zip(self.databases, self.connections, strict=True)
            )
            assert first == second
        for queue in ("a", "b"):
            self.both(lambda database, queue=queue: database.peek(queue, limit=5))  # type: ignore[misc]
            self.both(lambda database, queue=queue: database.peek(queue, limit=5, rear=True))  # type: ignore[misc]

    def teardown(self) -> None:
        for database, connection in zip(self.databases, self.connections, strict=True):
            check_invariants(database, connection.ask)
            connection.ask(database.flush())
            connection.close()


@pytest.mark.timeout(180)
def test_memory_and_a_real_server_agree_after_every_move(valkey_url: str) -> None:
    class Machine(Twins):
        url = valkey_url

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=60,
            phases=[Phase.generate],
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
