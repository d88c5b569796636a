"""What the scripts write about limits: three keys that go with the last slot, and nothing at all for other jobs."""

from __future__ import annotations

from typing import Any

import pytest

from procession.database.redis.keys import row_of
from procession.job import NewJob, new_jid
from procession.limits import Slot
from procession.moves import Move
from procession.testing.contract.queue import claim, settle
from tests.lua.conftest import Keyspace

LIMIT = b"l" * 16


def enqueue(keys: Keyspace, number: int, **words: Any) -> list[bytes]:
    jobs = [
        NewJob(jid=new_jid(), spec=b'["f",{}]', queue="mail", slot=Slot(limit=LIMIT, most=1), **words)
        for _ in range(number)
    ]
    keys.connection.ask(keys.database.enqueue(jobs))
    return [job.jid.bytes for job in jobs]


def perform(keys: Keyspace) -> None:
    for job in claim(keys.database, keys.connection.ask).jobs:
        settle(keys.database, keys.connection.ask, job, Move.PROCESS)


def test_slot_and_turn_are_members_and_the_word_is_kept_once(keys: Keyspace) -> None:
    (first,) = enqueue(keys, 1)
    claim(keys.database, keys.connection.ask)
    second, urgent = (*enqueue(keys, 1), *enqueue(keys, 1, priority=100))
    assert keys.members("slots") == {LIMIT + first}
    assert keys.server.zrange(keys.key("blocked"), 0, -1) == [
        LIMIT + bytes([0]) + (2).to_bytes(6, "big") + urgent,
        LIMIT + bytes([100]) + (1).to_bytes(6, "big") + second,
    ]
    assert keys.server.hgetall(keys.key("limits")) == {LIMIT: b"1"}
    found = {name.decode().removeprefix(f"{keys.tag}:") for name in keys.server.keys(f"{keys.tag}:*")}
    assert all(row_of(name) for name in found)


def test_a_limit_that_nobody_uses_leaves_nothing(keys: Keyspace) -> None:
    enqueue(keys, 3)
    for _ in range(3):
        perform(keys)
    assert not any(keys.server.exists(keys.key(name)) for name in ("slots", "blocked", "limits"))
    enqueue(keys, 1, delay=1_000)
    assert not keys.server.exists(keys.key("limits")), "a job that is due later does not use its limit yet"


def test_flush_takes_slots_turns_and_words(keys: Keyspace) -> None:
    enqueue(keys, 3)
    keys.connection.ask(keys.database.flush())
    assert keys.server.keys(f"{keys.tag}:*") == []


@pytest.mark.parametrize("deadline", [0, 60_000], ids=["plain", "with a deadline"])
def test_a_job_without_a_limit_asks_for_none(keys: Keyspace, deadline: int) -> None:
    def calls() -> dict[str, int]:
        stats = keys.server.info("commandstats")
        return {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("zlexcount", "zrangebylex")}

    before = calls()
    job = NewJob(jid=new_jid(), spec=b'["f",{}]', queue="mail", deadline=deadline)
    keys.connection.ask(keys.database.enqueue([job]))
    perform(keys)
    assert calls() == before
