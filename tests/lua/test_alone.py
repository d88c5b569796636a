"""One job alone, enqueued or claimed, has a way of its own in front of the helpers. What it leaves is put beside what
the rest of the script leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from procession.database.redis import scripts
from procession.database.redis.linking import statements
from procession.database.redis.records import enqueue_arguments
from procession.job import NewJob
from tests.lua.conftest import NOW, A, B, C, D, E, Keyspace, new


def test_one_job_alone_leaves_what_it_would_leave_by_the_way_of_all_others(keys: Keyspace) -> None:
    whole = scripts.script("enqueue").text
    alone = next(it.text for it in statements(whole) if it.text.startswith("if #jobs == 6 "))
    rest = whole.replace(alone, "")
    steps = [
        (NOW, new(A)), (NOW + 1, new(B)), (NOW + 2, new(C, priority=-5)), (NOW + 3, new(D, queue="other")),
        (NOW + 60_000, new(E)), (NOW + 60_001, new(bytes(16), queue="other")), (NOW + 60_002, new(A)),
    ]  # fmt: skip
    left, alone_taken = [], []
    for text, name in ((whole, b"{one}"), (rest, b"{all}")):
        replies = []
        for now, job in steps:
            before = _calls(keys.server, "hsetnx")
            replies.append(keys.server.eval(text, 1, name, now, *enqueue_arguments([job])))
            alone_taken.append(_calls(keys.server, "hsetnx") - before)
            keys.server.delete(name + b":bell:mail")
        left.append((replies, {key.removeprefix(name): keys.server.dump(key) for key in _keys(keys.server, name)}))
        keys.server.delete(*_keys(keys.server, name))
    assert left[0] == left[1]
    assert alone_taken == [0, 1, 1, 0, 0, 0, 1] + [0] * 7, "not taken in the first of a minute, nor of a queue in it"


Step = tuple[list[NewJob], Callable[[Redis, bytes], object] | None, str]
"""What is enqueued, what else happens, and which claim then comes: the "next", the first of a "new worker", the same
"again", or one that follows a "stranger"."""
LANE = b":lane:mail:0"
ALONE: list[tuple[Step, int, bool]] = [
    # …, how many jobs it takes, and whether that is the way of one job
    (([new(A)], None, "new worker"), 1, False),
    (([new(B)], None, "next"), 1, True),
    (([new(C, priority=-5)], None, "next"), 1, True),
    (([new(D, queue="other")], lambda it, name: it.rpush(name + b":bell:@w", "1"), "next"), 1, True),
    (([], None, "next"), 0, False),
    (([new(E), new(bytes(16))], None, "next"), 2, False),
    (([new(b"1" * 16)], None, "again"), 2, False),
    (([], None, "stranger"), 0, False),
    (([], None, "next"), 0, False),
    (([], lambda it, name: it.hset(name + b":paused", "mail", "0 "), "next"), 0, False),
    (([], lambda it, name: it.hdel(name + b":paused", "mail"), "next"), 1, True),
    (([new(b"2" * 16)], lambda it, name: it.delete(name + b":leases", name + b":workers"), "next"), 1, True),
    (([new(b"3" * 16), new(b"4" * 16, queue="other")], None, "next"), 2, False),
    (([new(b"5" * 16, expires_in=60_000)], None, "next"), 1, False),
    (([new(b"6" * 16, priority=1), new(b"7" * 16)], None, "next"), 2, False),
    (([new(b"8" * 16)], lambda it, name: it.hdel(name + b":jobs", b"8" * 16), "next"), 0, False),
    (([new(b"9" * 16)], lambda it, name: it.rename(name + LANE, name + LANE + b":front"), "next"), 1, False),
    (([new(b"a" * 16)], lambda it, name: it.rpush(name + LANE + b":front", b"b" * 18), "next"), 1, False),
    (([new(b"c" * 16)], lambda it, name: it.hset(name + b":jobs", b"c" * 16, b"damaged"), "next"), 0, False),
    (([new(b"d" * 16)], lambda it, name: _moved(it, name, "mail", "other"), "next"), 0, False),
]  # fmt: skip


@pytest.mark.parametrize("ageing", [0, 60_000])
def test_a_claim_of_one_job_leaves_what_it_would_leave_by_the_way_of_all_others(keys: Keyspace, ageing: int) -> None:
    whole, add = scripts.script("claim").text, scripts.script("enqueue").text
    alone = next(it.text for it in statements(whole) if it.text.startswith("if #last_claim > 4 "))
    left, alone_taken = [], []
    for text, name in ((whole, b"{one}"), (whole.replace(alone, ""), b"{all}")):
        replies, last = [], b""
        for at, ((jobs, happens, which), _, _) in enumerate(ALONE):
            now = NOW + 1_000 * at
            if jobs:
                keys.server.eval(add, 1, name, now, *enqueue_arguments(jobs))
            if happens is not None:
                happens(keys.server, name)
            token = last if which == "again" else b"%16d" % at
            after = {"new worker": b"", "stranger": b"nobody's"}.get(which, last)
            before = _calls(keys.server, "del")
            replies.append(keys.server.eval(text, 1, name, now, "w", token, after, 10, 15_000, ageing, "mail", "other"))
            alone_taken.append(_calls(keys.server, "del") > before)
            assert (replies[-1].pop(2) == b"0") == (len(replies[-1]) == 5), "the fence, of the server's own time"
            last = last if which == "stranger" else token
        keys.server.hdel(name + b":meta", "fence")
        left.append((replies, {key.removeprefix(name): keys.server.dump(key) for key in _keys(keys.server, name)}))
        keys.server.delete(*_keys(keys.server, name))
    assert left[0] == left[1]
    assert [len(reply) - 5 for reply in left[0][0]] == [taken for _, taken, _ in ALONE]
    assert alone_taken == [alone for _, _, alone in ALONE] + [False] * len(ALONE)


def _moved(server: Redis, name: bytes, queue: str, other: str) -> None:
    for key in (":lane:%s:0", ":lanes:%s"):
        server.rename(name + (key % queue).encode(), name + (key % other).encode())


def _keys(server: Redis, name: bytes) -> list[bytes]:
    return server.keys(name.decode() + "*")


def _calls(server: Redis, command: str) -> int:
    """How often the server has run a command."""
    return int(server.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_claim_behind_a_wait_leaves_the_workers_own_bell_and_its_lease(keys: Keyspace, jobs: int) -> None:
    ask, claim = keys.connection.ask, keys.database.claim
    ask(claim(["mail"], "w", b"first", limit=10, lease=15_000, after=b"none"))
    ask(keys.database.enqueue([new(b"%016d" % at) for at in range(jobs)]))
    keys.server.rpush(keys.key("bell:@w"), "1")
    keys.now += 5_000
    ahead = ask(claim(["mail"], "w", b"ahead", limit=10, lease=0, after=b"first"))
    assert (len(ahead.jobs), ahead.called, keys.rings("@w")) == (jobs, False, 1)
    assert keys.server.zscore(keys.key("leases"), "w") == NOW + 15_000
    in_turn = ask(claim(["mail"], "w", b"in turn", limit=10, lease=15_000, after=b"ahead"))
    assert (len(in_turn.jobs), in_turn.called, keys.rings("@w")) == (0, True, 0)
    assert keys.server.zscore(keys.key("leases"), "w") == NOW + 20_000
