"""A server whose memory is full: new work is refused, everything that lets the store drain still works."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from procession.database import Database, Policy
from procession.database import open as open_database
from procession.errors import StoreRefused
from procession.job import Crash, NewJob, Outcome, State, new_jid
from procession.moves import Move
from procession.testing.contract.invariants import check_invariants

LEASE = 15_000
SPEC = b'["f",{"text":"%s"}]' % (b"x" * 900)


def new(**fields: Any) -> NewJob:
    return NewJob(**{"jid": new_jid(), "spec": SPEC, "queue": "mail", **fields})


def fill(server: Redis, database: Database, ask: Any) -> list[NewJob]:
    """Jobs until the server refuses more; from then on it is far over its bound."""
    server.config_set("maxmemory", str(server.info("memory")["used_memory"] + 3_000_000))
    stored: list[NewJob] = []
    with suppress(StoreRefused):
        while True:
            jobs = [new() for _ in range(100)]
            ask(database.enqueue(jobs))
            stored += jobs
    server.config_set("maxmemory", str(server.info("memory")["used_memory"] // 2))
    return stored


def test_a_full_store_refuses_new_jobs_and_drains_until_it_takes_them_again(
    server: Redis, own_url: str, namespace: str
) -> None:
    now = [1_800_000_000_000]
    database = open_database(own_url, namespace=namespace, now=lambda: now[0], policy=Policy(processed_count=50))
    connection = database.connect()
    ask = connection.ask
    ask(database.recover(1, lease=LEASE))
    delayed = [new(delay=1_000) for _ in range(50)]
    ask(database.enqueue(delayed))
    stored = fill(server, database, ask)
    assert len(stored) >= 500
    with pytest.raises(StoreRefused):
        ask(database.enqueue([new()]))
    with pytest.raises(StoreRefused):
        ask(database.enqueue([new(delay=5)]))
    assert ask(database.counts()).enqueued == len(stored) + 50, "a refused enqueue stores nothing"

    tokens = iter(range(1, 1_000_000))

    def claim(worker: str, limit: int) -> Any:
        return ask(database.claim(["mail"], worker, next(tokens).to_bytes(16, "big"), limit=limit, lease=LEASE)).jobs

    def settle(worker: str, jobs: Any, move: Move, **fields: Any) -> None:
        outcomes = [Outcome(jid=job.jid, token=job.token, move=move, **fields) for job in jobs]
        assert all(ask(database.settle(worker, outcomes)))

    settle("w", claim("w", 10), Move.RELEASE)
    settle("w", claim("w", 10), Move.RETRY, delay=10, failure=b'{"attempt":1,"type":"E","message":"m"}')
    settle("w", claim("w", 10), Move.SNOOZE, delay=10)
    settle("w", claim("w", 10), Move.FAIL, reason="no")
    settle("w", claim("w", 10), Move.PROCESS, value=b'"result"')
    claim("crashed", 5)
    assert len(ask(database.leave("crashed", crash=Crash(how="signal 9")))) == 5
    claim("vanished", 5)
    recovered = 0
    for _ in range(8):
        now[0] += 3_800
        recovered += ask(database.heartbeat("w", lease=LEASE, info=b"{}", queues=("mail",), limit=500)).recovered
    assert recovered == 5
    assert ask(database.counts()).delayed == 0, "what was due was promoted"
    ask(database.cancel([stored[-1].jid, stored[-2].jid]))
    ask(database.remove([stored[-3].jid]))
    ask(database.pause(["other"]))
    ask(database.prune(1_000))
    while jobs := claim("w", 100):
        settle("w", jobs, Move.PROCESS)
    counts = ask(database.counts())
    assert (counts.queued, counts.running, counts.delayed, counts.kept_processed) == (0, 0, 0, 50)
    check_invariants(database, ask)

    server.config_set("maxmemory", str(server.info("memory")["used_memory"] + 1_000_000))
    assert [it.new for it in ask(database.enqueue([new()]))] == [True]
    ask(database.flush())
    connection.close()


def test_a_full_store_is_mended_all_the_same(server: Redis, own_url: str, namespace: str) -> None:
    database = open_database(own_url, namespace=namespace)
    connection = database.connect()
    stored = fill(server, database, connection.ask)
    server.config_set("maxmemory", "0")
    server.delete(f"{{{namespace}:0}}:lane:mail:0", f"{{{namespace}:0}}:lanes:mail")
    server.config_set("maxmemory", "1mb")
    beat = connection.ask(database.heartbeat("w", lease=LEASE, info=b"{}", queues=("mail",), limit=500))
    assert beat.repaired > 0
    job = connection.ask(database.claim(["mail"], "w", b"t" * 16, limit=1, lease=LEASE)).jobs[0]
    assert job.jid in {it.jid for it in stored}
    assert connection.ask(database.find([job.jid]))[0].state is State.RUNNING
    connection.ask(database.flush())
    connection.close()
