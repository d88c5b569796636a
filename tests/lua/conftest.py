"""A real server, a keyspace written by hand, a script called, the keyspace read back. Each test ends with the leak
check."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from procession.database import Policy
from procession.database.redis import RedisDatabase
from procession.database.redis.keys import tag
from procession.database.redis.records import STATES
from procession.job import State
from tests.leaks import leaks

NOW = 1_800_000_000_000


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

    def put(self, jid: bytes, state: State, **fields: Any) -> None:
        """Write a job's spec and state record by hand."""
        record = {
            "priority": 0, "attempt": 0, "crashes": 0, "cancel": 0, "times": (NOW - 50, 0, 0, 0, 0),
            "queue": "mail", "worker": "", "token": b"", "reason": "", **fields,
        }  # fmt: skip
        packed = struct.pack(
            ">BBbHBBH",
            1,
            STATES.index(state) + 1,
            record["priority"],
            record["attempt"],
            record["crashes"],
            record["cancel"],
            0,
        )
        packed += b"".join(at.to_bytes(6, "big") for at in record["times"])
        for text in (record["queue"], record["worker"], record["token"], record["reason"]):
            raw = text if isinstance(text, bytes) else text.encode()
            packed += bytes([len(raw)]) + raw
        self.server.hset(self.key("states"), jid, packed)
        self.server.hset(self.key("specs"), jid, b'{"name":"app.f","args":{}}')

    def queued(self, *jids: bytes, queue: str = "mail", priority: int = 0) -> None:
        """Write queued jobs with their lane, depth and counter."""
        for jid in jids:
            self.put(jid, State.QUEUED, queue=queue, priority=priority)
            self.server.rpush(self.key(f"lane:{queue}:{priority}"), jid + b"\0\0")
        self.server.zadd(self.key(f"lanes:{queue}"), {str(priority): -priority})
        self.server.hincrby(self.key("depth"), queue, len(jids))
        self.server.hincrby(self.key("counters"), "queued", len(jids))

    def running(self, *jids: bytes, worker: str = "w", token: bytes = b"t" * 16, **fields: Any) -> None:
        """Write running jobs with their worker's lease."""
        for jid in jids:
            self.put(jid, State.RUNNING, worker=worker, token=token, **{"attempt": 1, **fields})
            self.server.sadd(self.key(f"held:{worker}"), jid)
        self.server.zadd(self.key("leases"), {worker: NOW + 15_000})
        self.server.hincrby(self.key("counters"), "running", len(jids))

    def state(self, jid: bytes) -> State | None:
        record = self.server.hget(self.key("states"), jid)
        return STATES[record[1] - 1] if record else None

    def lane(self, queue: str = "mail", priority: int = 0) -> list[bytes]:
        return [entry[:16] for entry in self.server.lrange(self.key(f"lane:{queue}:{priority}"), 0, -1)]

    def members(self, name: str) -> set[bytes]:
        kind = self.server.type(self.key(name))
        if kind == b"zset":
            return set(self.server.zrange(self.key(name), 0, -1))
        if kind == b"hash":
            return set(self.server.hkeys(self.key(name)))
        return set(self.server.smembers(self.key(name)))

    def counters(self) -> dict[str, int]:
        found = self.server.hgetall(self.key("counters"))
        return {name.decode(): int(number) for name, number in found.items() if int(number)}

    def rings(self, name: str) -> int:
        return self.server.llen(self.key(f"bell:{name}"))


def _url(server: Redis) -> str:
    return f"unix://{server.connection_pool.connection_kwargs['path']}"


@pytest.fixture
def keys(valkey_url: str, namespace: str) -> Iterator[Keyspace]:
    server = Redis.from_url(valkey_url, protocol=2)
    keyspace = Keyspace(server, namespace)
    yield keyspace
    assert leaks(server, namespace) == []
    keyspace.connection.ask(keyspace.database.flush())
    keyspace.connection.close()
    server.close()
