"""Something of the unique keys or the deadlines is lost or altered: enqueues go on, the check names it and mends it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from procession.job import NewJob, new_jid
from procession.moves import Move
from procession.unique import Unique
from tests.damage.conftest import Store

KEY = b"k" * 16


def enqueue(store: Store, key: bytes = KEY) -> UUID:
    """A unique job; the jid that has the key."""
    job = NewJob(jid=new_jid(), spec=b'["f",{}]', queue="mail", unique=Unique(key=key), deadline=9**9)
    jid: UUID = store.ask(store.database.enqueue([job]))[0].jid
    return jid


DAMAGES: dict[str, tuple[Callable[[Store, UUID], object], set[str], bool]] = {
    "the keys": (lambda it, jid: it.server.delete(it.key("unique")), {"key lost"}, True),
    "the deadlines": (lambda it, jid: it.server.delete(it.key("deadlines")), {"deadline lost"}, True),
    "the rules": (lambda it, jid: it.server.delete(it.key("rules")), {"key without job"}, False),
    "half of the rules of a job": (
        lambda it, jid: it.server.hset(it.key("rules"), jid.bytes, KEY), {"left over", "key without job"}, False,
    ),
    "the record": (
        lambda it, jid: it.server.hdel(it.key("jobs"), jid.bytes), {"left over", "key without job", "depth"}, False,
    ),
    "the record's bytes": (
        lambda it, jid: it.server.hset(it.key("jobs"), jid.bytes, b"?"),
        {"left over", "key without job", "depth", "record unreadable"}, False,
    ),
    "which job has the key": (
        lambda it, jid: it.server.hset(it.key("unique"), KEY, it.queued[0].bytes), {"key without job"}, True,
    ),
}  # fmt: skip
"""What is lost or altered → what the check finds, and whether the job holds its key when it is mended."""


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_named_and_mended_and_a_key_is_never_held_by_nobody(store: Store, what: str) -> None:
    damage, kinds, held = DAMAGES[what]
    jid = enqueue(store)
    damage(store, jid)
    assert store.kinds() == kinds
    store.walk(mend=True)
    store.walk(mend=True)
    assert store.kinds() == set()
    assert (enqueue(store) == jid) is held
    assert enqueue(store) == enqueue(store)


@pytest.mark.parametrize("what", DAMAGES)
def test_before_it_is_mended_an_enqueue_makes_one_job_and_all_is_worked_off(store: Store, what: str) -> None:
    jid = enqueue(store)
    DAMAGES[what][0](store, jid)
    assert enqueue(store) == enqueue(store)
    store.made = [it for it in store.made if it != jid]
    store.drain()
    store.walk(mend=True)
    store.walk(mend=True)
    assert store.kinds() == set()


def test_a_manual_retry_with_damaged_rules_is_one_without_rules(store: Store) -> None:
    jid = enqueue(store)
    store.settle("alive", [job for job in store.claim("alive", 50) if job.jid == jid], Move.FAIL)
    store.server.hset(store.key("rules"), jid.bytes, b"short")
    assert [it and it.value for it in store.ask(store.database.retry([jid]))] == ["failed"]
