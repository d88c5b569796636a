"""The memory store: what a worker asks takes as long with many jobs as with few, and its audit knows its indexes."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from procession.database import Policy
from procession.database.memory import MemoryDatabase
from procession.database.memory.store import Store
from procession.database.operation import Operation
from procession.job import NewJob, Outcome, State, new_jid
from procession.moves import Move
from procession.testing.contract.fixtures import NOW

LEASE = 15_000


class Asker:
    """A store with a clock of its own, and how many calls of functions its answers took."""

    def __init__(self, **policy: Any) -> None:
        self.now = NOW
        self.store = Store(Policy(**policy))
        self.database = MemoryDatabase(self.store, "mine://", "mine", lambda: self.now)
        self.connection = self.database.connect()
        self.steps = Counter[str]()

    def ask(self, what: str, operation: Operation[Any]) -> Any:
        def count(_frame: object, event: str, _argument: object) -> None:
            self.steps[what] += event.endswith("call")

        sys.setprofile(count)
        try:
            return self.connection.ask(operation)
        finally:
            sys.setprofile(None)

    def enqueue(self, number: int, what: str = "enqueue", **fields: Any) -> None:
        jobs = [NewJob(**{"jid": new_jid(), "spec": b'["f",{}]', "queue": "mail", **fields}) for _ in range(number)]
        self.ask(what, self.database.enqueue(jobs))

    def perform(self, number: int, ageing: int = 0) -> None:
        claim = self.database.claim(["mail"], "w", os.urandom(16), limit=number, lease=LEASE, ageing=ageing)
        jobs = self.ask("claim", claim).jobs
        assert len(jobs) == number
        outcomes = [Outcome(jid=it.jid, token=it.token, move=Move.PROCESS) for it in jobs]
        assert all(self.ask("settle", self.database.settle("w", outcomes)))

    def beat(self) -> None:
        self.ask("beat", self.database.heartbeat("w", lease=LEASE, info=b"{}", queues=["mail"], limit=10))


def steps_beside(jobs: int, ageing: int) -> Counter[str]:
    """What each of a few questions takes where so many jobs wait, are delayed and finished."""
    asker = Asker(processed_count=jobs)
    asker.enqueue(jobs, "before", delay=60_000)
    for priority in (0, 5):
        asker.enqueue(jobs, "before", priority=priority)
    asker.enqueue(jobs, "before", priority=9)
    asker.perform(jobs, ageing)
    asker.steps.clear()
    asker.enqueue(20)
    asker.enqueue(20, "enqueue delayed", delay=30_000)
    asker.perform(50, ageing)
    asker.beat()
    asker.now += 30_000
    asker.beat()
    return asker.steps


@pytest.mark.parametrize("ageing", [0, 1_000])
def test_what_a_worker_asks_takes_as_many_steps_with_many_jobs_as_with_few(ageing: int) -> None:
    few, many = steps_beside(100, ageing), steps_beside(5_000, ageing)
    assert {it: many[it] < 1.5 * few[it] for it in few} == dict.fromkeys(few, True), (few, many)


def test_jobs_whose_time_is_put_off_again_and_again_leave_nothing_behind() -> None:
    asker = Asker()
    asker.enqueue(1, delay=60_000)
    (record,) = asker.store.jobs.values()
    for _ in range(10_000):
        asker.store.move(record, Move.DEFER, asker.now, due=record.due_at + 1)
    assert len(asker.store._due) < 200
    assert asker.store.next_due() == record.due_at


def _out_of_its_state(store: Store) -> None:
    (record,) = store.jobs.values()
    del store.by_state[record.state][record.jid]


def _at_another_time(store: Store) -> None:
    (record,) = store.jobs.values()
    record.due_at += 1


def _gone(store: Store) -> None:
    store.jobs.clear()


def _in_another_state(store: Store) -> None:
    (record,) = store.jobs.values()
    record.state = State.PROCESSED


def _empty_lane(store: Store) -> None:
    store.lanes["mail"].clear()


@pytest.mark.parametrize(
    ("damage", "delay", "kinds"),
    [
        (_out_of_its_state, 0, {"not in its lane"}),
        (_empty_lane, 0, {"not in its lane"}),
        (_out_of_its_state, 1_000, {"not due"}),
        (_at_another_time, 1_000, {"not due"}),
        (_gone, 0, {"index without job"}),
        (_in_another_state, 0, {"not kept", "index without job"}),
    ],
)
def test_the_audit_names_what_an_index_says_wrong(damage: Callable[[Store], None], delay: int, kinds: set[str]) -> None:
    asker = Asker()
    asker.enqueue(1, delay=delay)
    assert asker.connection.ask(asker.database.audit(lease=LEASE)).findings == []
    damage(asker.store)
    assert {it.kind for it in asker.connection.ask(asker.database.audit(lease=LEASE)).findings} == kinds


def test_callers_and_workers_that_have_gone_are_forgotten() -> None:
    it = Asker()
    it.enqueue(2)
    ended, waiting = it.store.jobs
    for number in range(10):
        it.ask("watch", it.database.watch([ended, waiting], f"caller {number}"))
        it.ask("claim", it.database.claim([], f"worker {number}", os.urandom(16), limit=1, lease=LEASE))
        it.ask("leave", it.database.leave(f"worker {number}"))
    it.ask("cancel", it.database.cancel([ended]))
    it.now += 30_000
    it.ask("watch", it.database.watch([waiting], "caller 9"))
    it.now += 30_000
    it.ask("prune", it.database.prune(10))
    assert (it.store.watchers, it.store.left) == ({waiting: {"caller 9": NOW + 30_000}}, {})
    assert it.store.heard(["@caller 0"]) is None
    it.ask("cancel", it.database.cancel([waiting]))
    assert it.store.heard(["@caller 9"]) == "@caller 9"
    assert it.store.heard(["mail"]) == "mail"
