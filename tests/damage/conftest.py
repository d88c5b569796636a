"""A busy store on a real server, and the hand that damages it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from redis import Redis

from procession.database import open as open_database
from procession.database.redis.keys import tag
from procession.job import NewJob, Outcome, State, new_jid
from procession.moves import Move
from procession.repair import Report
from procession.testing.contract.fixtures import NOW
from procession.testing.contract.invariants import check_invariants, walked

LEASE = 15_000
BEAT = 3_800
FAILURE = b'{"attempt":1,"type":"ValueError","message":"no"}'


class Store:
    """One namespace with jobs in every state, a clock in the hand of the test, and the server behind it."""

    def __init__(self, url: str, namespace: str) -> None:
        self.now = NOW
        self.server = Redis.from_url(url, protocol=2)
        self.tag = tag(namespace)
        self.database = open_database(url, namespace=namespace, now=lambda: self.now)
        self.connection = self.database.connect()
        self.ask: Any = self.connection.ask
        self.made: list[UUID] = []
        self.tokens = 0

    def key(self, name: str) -> str:
        return f"{self.tag}:{name}"

    def enqueue(self, number: int, **fields: Any) -> list[UUID]:
        jobs = [NewJob(**{"jid": new_jid(), "spec": b'["f",{}]', "queue": "mail", **fields})
                for _ in range(number)]  # fmt: skip
        self.ask(self.database.enqueue(jobs))
        self.made += [job.jid for job in jobs]
        return [job.jid for job in jobs]

    def claim(self, worker: str, limit: int, queues: tuple[str, ...] = ("mail",)) -> Any:
        self.tokens += 1
        token = self.tokens.to_bytes(16, "big")
        return self.ask(self.database.claim(list(queues), worker, token, limit=limit, lease=LEASE)).jobs

    def holds(self, worker: str, jids: list[UUID], token: bytes, number: int | None = None) -> None:
        """Write by hand what a worker holds under one token."""
        claim = (len(jids) if number is None else number).to_bytes(4, "big") + b"".join(jid.bytes for jid in jids)
        self.server.hset(self.key(f"held:{worker}"), token, claim)

    def settle(self, worker: str, jobs: Any, move: Move, **fields: Any) -> None:
        outcomes = [Outcome(jid=job.jid, token=job.token, move=move, **fields) for job in jobs]
        assert all(self.ask(self.database.settle(worker, outcomes)))

    def fill(self) -> None:
        """3 jobs processed, failed, cancelled, running and delayed each, and 12 queued in three lanes."""
        self.ask(self.database.recover(1, lease=LEASE))
        self.enqueue(12)
        for move in (Move.PROCESS, Move.FAIL, Move.DISCARD):
            self.settle("dead", self.claim("dead", 3), move, value=b"1", failure=FAILURE)
        jobs = self.claim("dead", 3)
        self.running, self.token = [job.jid for job in jobs], jobs[0].token
        self.ask(self.database.heartbeat("dead", lease=LEASE, info=b'{"host":"h","pid":7,"memory":5000000000}'))
        self.enqueue(3, delay=2_000)
        self.queued = self.enqueue(5) + self.enqueue(4, queue="mail", priority=5) + self.enqueue(3, queue="images")

    def beat(self, worker: str = "alive") -> Any:
        """One heartbeat with all duties, as an idle worker sends it, and the time until the next."""
        beat = self.ask(
            self.database.heartbeat(worker, lease=LEASE, info=b"{}", queues=("mail", "images"), limit=500)
        )
        self.now += BEAT
        return beat

    def drain(self, queues: tuple[str, ...] = ("mail", "images", "default")) -> list[UUID]:
        """Beat and perform until nothing waits or runs; the ids performed, in order."""
        performed: list[UUID] = []
        for _ in range(40):
            self.beat()
            while jobs := self.claim("alive", 4, queues):
                self.settle("alive", jobs, Move.PROCESS, value=b"2")
                performed += [job.jid for job in jobs]
            counts = self.ask(self.database.counts())
            if not counts.queued + counts.delayed + counts.running and self.states() <= {
                State.PROCESSED, State.FAILED, State.CANCELLED,
            }:  # fmt: skip
                return performed
        pytest.fail(f"not drained: {counts}")

    def states(self) -> set[State]:
        return {job.state for job in self.ask(self.database.find(self.made)) if job is not None}

    def walk(self, *, mend: bool = False) -> Report:
        return walked(self.database, self.ask, mend=mend, lease=LEASE)

    def kinds(self, *, mend: bool = False) -> set[str]:
        return {finding.kind for finding in self.walk(mend=mend).findings}


@pytest.fixture(params=["valkey"])
def store(request: pytest.FixtureRequest, namespace: str) -> Iterator[Store]:
    """On the bundled Valkey; `@pytest.mark.parametrize("store", ["redis"], indirect=True)` takes Redis."""
    url = request.getfixturevalue(f"{request.param}_url")
    it = Store(url, namespace)
    it.fill()
    check_invariants(it.database, it.ask)
    yield it
    it.ask(it.database.flush())
    it.connection.close()
    it.server.close()
