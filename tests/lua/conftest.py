"""A real server, a keyspace written by hand, a script called, the keyspace read back. Each test ends with the leak
check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from redis import Redis

from procession.database import Policy
from procession.database.redis import RedisDatabase
from procession.database.redis.keys import tag
from procession.database.redis.records import CANCEL, HAS_ERRORS, HAS_HISTORY, HAS_PLAN, HEAD, STATES
from procession.job import NewJob, State

NOW = 1_800_000_000_000
A, B, C, D, E = (bytes([n]) * 16 for n in range(1, 6))


def new(jid: bytes, **fields: Any) -> NewJob:
    """A job to be enqueued."""
    return NewJob(jid=UUID(bytes=jid), spec=b'["app.f",{}]', **{"queue": "mail", **fields})


class Keyspace:
    """The keys of one namespace, without their tag."""

    def __init__(self, server: Redis, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self.tag = tag(namespace)
        self.policy = Policy(processed_count=3, failed_count=3, cancelled_count=3)
        self.now = NOW
        self.database = RedisDatabase(_url(server), namespace=namespace, policy=self.policy, now=lambda: self.now)
        self.connection = self.database.connect()

    def key(self, name: str | bytes) -> bytes:
        return f"{self.tag}:".encode() + (name if isinstance(name, bytes) else name.encode())

    def number(self, worker: str) -> bytes:
        """The number of a worker as records have it, its name known for it."""
        if not worker:
            return bytes(4)
        number = sum(worker.encode())
        self.server.hset(self.key("names"), str(number), worker)
        return number.to_bytes(4, "big")

    def put(self, jid: bytes, state: State, **fields: Any) -> None:
        """Write a job's record by hand."""
        record = {
            "priority": 0, "attempt": 0, "crashes": 0, "cancel": 0, "errors": 0, "times": (NOW - 50, 0, 0, 0, 0),
            "queue": "mail", "worker": "", "token": b"", "reason": "", "spec": b'["app.f",{}]', **fields,
        }  # fmt: skip
        enqueued, due, started, finished, expires = (at.to_bytes(6, "big") for at in record["times"])
        history = started if state is State.RUNNING else started + finished
        history += self.number(record["worker"])
        for text in (record["token"], record["reason"]):
            raw = text if isinstance(text, bytes) else text.encode()
            history += bytes([len(raw)]) + raw
        queue = record["queue"].encode()
        flags = HAS_PLAN + HAS_HISTORY + CANCEL * record["cancel"] + HAS_ERRORS * record["errors"]
        head = HEAD.pack(
            1, STATES.index(state) + 1, 0, record["attempt"], record["crashes"], flags, record["priority"], len(queue)
        )  # fmt: skip
        self.server.hset(self.key("jobs"), jid, head + queue + history + enqueued + due + expires + record["spec"])

    def queued(self, *jids: bytes, queue: str = "mail", priority: int = 0) -> None:
        """Write queued jobs with their lane, depth and counter."""
        for jid in jids:
            self.put(jid, State.QUEUED, queue=queue, priority=priority)
            self.server.rpush(self.key(f"lane:{queue}:{priority}"), jid + b"\0\0")
        self.server.zadd(self.key(f"lanes:{queue}"), {str(priority): -priority})
        self.server.hincrby(self.key("depth"), queue, len(jids))

    def running(self, *jids: bytes, worker: str = "w", token: bytes = b"t" * 16, **fields: Any) -> None:
        """Write running jobs with their worker's lease."""
        for jid in jids:
            self.put(jid, State.RUNNING, worker=worker, token=token, **{"attempt": 1, **fields})
        self.server.hset(self.key(f"held:{worker}"), token, len(jids).to_bytes(4, "big") + b"".join(jids))
        self.server.hset(self.key("tokens"), worker, self.number(worker) + token)
        self.server.zadd(self.key("leases"), {worker: NOW + 15_000})
        self.server.hincrby(self.key("counters"), "running", len(jids))

    def finished(self, jid: bytes, state: State, at: int = NOW) -> None:
        """Write a finished job with its entry and counter."""
        self.put(jid, state, times=(NOW - 50, 0, NOW - 20, at, 0))
        self.server.rpush(self.key(state.value), jid + b"\0\0")
        self.server.hincrby(self.key("counters"), f"kept_{state.value}", 1)

    def state(self, jid: bytes) -> State | None:
        record = self.server.hget(self.key("jobs"), jid)
        return STATES[record[1] - 1] if record else None

    def lane(self, queue: str = "mail", priority: int = 0) -> list[bytes]:
        return [entry[:16] for entry in self.server.lrange(self.key(f"lane:{queue}:{priority}"), 0, -1)]

    def members(self, name: str) -> set[bytes]:
        kind = self.server.type(self.key(name))
        if kind == b"list":
            return {entry[:16] for entry in self.server.lrange(self.key(name), 0, -1)}
        if kind == b"zset":
            return set(self.server.zrange(self.key(name), 0, -1))
        if kind == b"hash":
            return set(self.server.hkeys(self.key(name)))
        return set(self.server.smembers(self.key(name)))

    def held(self, worker: str = "w") -> set[bytes]:
        claims = self.server.hvals(self.key(f"held:{worker}"))
        return {claim[at : at + 16] for claim in claims for at in range(4, len(claim), 16)}

    def counters(self) -> dict[str, int]:
        found = self.server.hgetall(self.key("counters"))
        queued = {b"queued": sum(map(int, self.server.hvals(self.key("depth"))))}
        return {name.decode(): int(number) for name, number in (found | queued).items() if int(number)}

    def rings(self, name: str) -> int:
        return self.server.llen(self.key(f"bell:{name}"))


def _url(server: Redis) -> str:
    return f"unix://{server.connection_pool.connection_kwargs['path']}"


@pytest.fixture
def keys(valkey_url: str, namespace: str) -> Iterator[Keyspace]:
    server = Redis.from_url(valkey_url, protocol=2)
    keyspace = Keyspace(server, namespace)
    yield keyspace
    assert keyspace.connection.ask(keyspace.database.audit("keys", limit=10_000, lease=1)).findings == []
    keyspace.connection.ask(keyspace.database.flush())
    keyspace.connection.close()
    server.close()
