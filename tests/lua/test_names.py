"""Records name a queue worker by its number: how that is given, and when the name behind it is forgotten."""

from __future__ import annotations

import os
from uuid import UUID

from procession.job import Outcome
from procession.moves import Move
from tests.lua.conftest import Keyspace, new

FORGETS = 65_536


def _performed(keys: Keyspace, worker: str, jid: bytes) -> None:
    token = os.urandom(8)
    keys.connection.ask(keys.database.enqueue([new(jid)]))
    (claimed,) = keys.connection.ask(keys.database.claim(["mail"], worker, token, limit=1, lease=15_000)).jobs
    outcome = Outcome(jid=claimed.jid, token=token, move=Move.PROCESS)
    assert keys.connection.ask(keys.database.settle(worker, [outcome])) == [True]


def _workers(keys: Keyspace, *jids: bytes) -> list[str]:
    return [job.worker for job in keys.connection.ask(keys.database.find([UUID(bytes=jid) for jid in jids]))]


def test_a_worker_has_one_number_and_each_new_one_the_next(keys: Keyspace) -> None:
    for at, worker in enumerate(("a", "b", "a")):
        _performed(keys, worker, b"%016d" % at)
    assert keys.server.hgetall(keys.key("names")) == {b"1": b"a", b"2": b"b"}
    assert _workers(keys, *(b"%016d" % at for at in range(3))) == ["a", "b", "a"]


def test_a_name_is_forgotten_after_so_many_new_workers_unless_its_worker_lives(keys: Keyspace) -> None:
    _performed(keys, "gone", b"1" * 16)
    _performed(keys, "alive", b"2" * 16)
    keys.connection.ask(keys.database.leave("gone"))
    keys.server.hset(keys.key("meta"), "workers", FORGETS)
    _performed(keys, "new", b"3" * 16)
    assert _workers(keys, b"1" * 16, b"2" * 16, b"3" * 16) == ["?1", "alive", "new"]
    _performed(keys, "newer", b"4" * 16)
    assert _workers(keys, b"2" * 16, b"3" * 16, b"4" * 16) == ["alive", "new", "newer"]


def test_no_number_is_given_twice_although_their_count_was_lost(keys: Keyspace) -> None:
    for at, worker in enumerate(("a", "b", "c")):
        _performed(keys, worker, b"%016d" % at)
    keys.server.hdel(keys.key("meta"), "workers")
    _performed(keys, "d", b"d" * 16)
    _performed(keys, "e", b"e" * 16)
    names = {b"1": b"a", b"2": b"b", b"3": b"c", b"4": b"d", b"5": b"e"}
    assert keys.server.hgetall(keys.key("names")) == names
