"""Something of the limits is lost or altered: the check names it and mends it, workers too; no limit stays stuck."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from procession.job import NewJob, State, new_jid
from procession.limits import Slot
from procession.moves import Move
from tests.damage.conftest import Store

LIMIT = b"l" * 16


def enqueue(store: Store, number: int, most: int = 1) -> list[UUID]:
    jobs = [
        NewJob(jid=new_jid(), spec=b'["f",{}]', queue="limited", slot=Slot(limit=LIMIT, most=most))
        for _ in range(number)
    ]
    store.ask(store.database.enqueue(jobs))
    store.made += [job.jid for job in jobs]
    return [job.jid for job in jobs]


def states(store: Store, jids: list[UUID]) -> str:
    return "".join("-" if job is None else job.state.value[0] for job in store.ask(store.database.find(jids)))


def turns(store: Store) -> list[bytes]:
    found: list[bytes] = store.server.zrange(store.key("blocked"), 0, -1)
    return found


Damage = Callable[[Store, list[UUID]], object]
DAMAGES: dict[str, tuple[Damage, set[str], str]] = {
    "the slots": (lambda it, jids: it.server.delete(it.key("slots")), {"no slot", "slot not handed on"}, "qb"),
    "who has the slot": (
        lambda it, jids: (it.server.delete(it.key("slots")), it.server.zadd(it.key("slots"), {LIMIT + b"?" * 16: 0})),
        {"no slot", "slot without job"}, "qb",
    ),
    "a job that is due later has one": (
        lambda it, jids: it.server.zadd(it.key("slots"), {LIMIT + it.enqueue(1, delay=99_000)[0].bytes: 0}),
        {"slot without job"}, "qb",
    ),
    "the record of who has it": (
        lambda it, jids: it.server.hdel(it.key("jobs"), jids[0].bytes),
        {"left over", "slot without job", "depth"}, "-q",
    ),
    "the turns": (lambda it, jids: it.server.delete(it.key("blocked")), {"no turn"}, "qb"),
    "a turn that is out of order": (
        lambda it, jids: it.server.zadd(it.key("blocked"), {turns(it)[0]: 7}), {"no turn"}, "qb",
    ),
    "a slot that is out of order": (
        lambda it, jids: it.server.zadd(it.key("slots"), {LIMIT + jids[0].bytes: 7}), {"no slot"}, "qb",
    ),
    "a turn of nobody": (
        lambda it, jids: it.server.zadd(it.key("blocked"), {LIMIT + b"\0" * 7 + b"?" * 16: 0}),
        {"index without job"}, "qb",
    ),
    "the turn of a job that is elsewhere": (
        lambda it, jids: it.server.zadd(it.key("blocked"), {LIMIT + b"\0" * 7 + it.queued[0].bytes: 0}),
        {"index without job"}, "qb",
    ),
    "how many slots there are": (
        lambda it, jids: it.server.delete(it.key("limits")), {"slots unknown"}, "qb",
    ),
    "the rules of who waits": (
        lambda it, jids: it.server.hdel(it.key("rules"), jids[1].bytes),
        {"waits for nothing", "index without job"}, "qq",
    ),
    "half of the rules of who waits": (
        lambda it, jids: it.server.hset(it.key("rules"), jids[1].bytes, b"?"),
        {"left over", "waits for nothing", "index without job"}, "qq",
    ),
    "the rules of who has it": (
        lambda it, jids: it.server.hdel(it.key("rules"), jids[0].bytes), {"slot without job"}, "qq",
    ),
}  # fmt: skip
"""What is lost or altered → what the check finds, and where the two jobs are when it is mended."""


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_named_and_mended_and_the_limit_goes_on(store: Store, what: str) -> None:
    damage, kinds, then = DAMAGES[what]
    jids = enqueue(store, 2)
    damage(store, jids)
    assert store.kinds() == kinds
    store.walk(mend=True)
    store.walk(mend=True)
    assert store.kinds() == set()
    assert states(store, jids) == then
    store.drain(("limited", "mail", "images", "default"))
    assert set(states(store, jids)) <= {"p", "-"}


@pytest.mark.parametrize("what", DAMAGES)
def test_workers_mend_it_by_themselves_and_all_is_worked_off(store: Store, what: str) -> None:
    jids = enqueue(store, 3)
    DAMAGES[what][0](store, jids)
    store.made = [it for it in store.made if store.ask(store.database.find([it])) != [None]]
    store.drain(("limited", "mail", "images", "default"))
    store.walk(mend=True)
    assert store.kinds() == set()
    assert states(store, enqueue(store, 1)) == "q"


def test_a_slot_of_a_job_that_vanished_is_handed_on_at_the_next_round_of_the_audit(store: Store) -> None:
    holder, waits = enqueue(store, 2)
    (job,) = store.claim("alive", 1, ("limited",))
    store.server.hdel(store.key("jobs"), holder.bytes)
    assert not store.ask(store.database.settle("alive", [])), "nothing gives the slot back now"
    for _ in range(3):
        store.beat()
    assert job.jid == holder
    assert states(store, [waits]) == "q"


def test_a_walk_that_only_looks_hands_nothing_on(store: Store) -> None:
    jids = enqueue(store, 2)
    store.server.zrem(store.key("slots"), LIMIT + jids[0].bytes)
    assert store.kinds() == {"no slot", "slot not handed on"}
    assert states(store, jids) == "qb"


def test_a_job_with_a_lost_slot_that_ends_gives_nobody_elses_back(store: Store) -> None:
    jids = enqueue(store, 4, most=2)
    first = store.claim("alive", 1, ("limited",))
    store.server.zrem(store.key("slots"), LIMIT + jids[0].bytes)
    store.settle("alive", first, Move.PROCESS)
    assert states(store, jids) == "pqqb"
    assert store.server.zcard(store.key("slots")) == 2
    assert State.BLOCKED in store.states()
