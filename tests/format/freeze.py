"""A store as one release left it, as a file: every key with its type and contents, base64 in JSON, times as they were.

`python -m tests.format.freeze URL` writes the file of the current format anew, to be kept when the format changes: a
later release must read it. What is in it is put in by `fill` through the verbs of the seam.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from redis import Redis

from procession.codec import encode_spec
from procession.database import Database
from procession.database import open as open_database
from procession.database.redis.keys import tag
from procession.job import NewJob, Outcome, Spec, SpecOptions
from procession.moves import Move

NOW = 1_800_000_000_000
LEASE = 15_000
FOLDER = Path(__file__).parent
FAILURE = b'{"attempt":1,"type":"ValueError","message":"no","worker":"w"}'


def jid(number: int) -> UUID:
    """The jobs of a frozen store have known ids."""
    return UUID(int=(7 << 76) + (2 << 62) + number)


def fill(database: Database, ask: Any) -> None:
    """Jobs in every state, with all that may be kept of one; a paused queue; a worker that will not come back."""

    def enqueue(*numbers: int, text: str = "", **fields: Any) -> None:
        spec = encode_spec(Spec("f", msgspec.Raw(json.dumps({"text": text}).encode()), SpecOptions(tags=("t",))))
        jobs = [NewJob(**{"jid": jid(number), "spec": spec, "queue": "mail", **fields}) for number in numbers]
        ask(database.enqueue(jobs))

    def claim(number: int) -> Any:
        token = number.to_bytes(8, "big")
        return ask(database.claim(["mail"], "w", token, limit=1, lease=LEASE)).jobs[0]

    def settle(job: Any, move: Move, **fields: Any) -> None:
        assert ask(database.settle("w", [Outcome(jid=job.jid, token=job.token, move=move, **fields)])) == [True]

    ask(database.recover(1, lease=LEASE))
    enqueue(*range(1, 7))
    settle(claim(1), Move.PROCESS, value=b'{"n":1}')
    settle(claim(2), Move.FAIL, failure=FAILURE, reason="exhausted")
    settle(claim(3), Move.DISCARD, reason="not wanted")
    settle(claim(4), Move.RETRY, failure=FAILURE, delay=5_000)
    settle(claim(5), Move.POSTPONE, reason="no worker knows the name g", delay=6_000)
    claim(6)
    ask(database.heartbeat("w", lease=LEASE, info=b'{"host":"h","pid":7}'))
    enqueue(7, delay=10_000)
    enqueue(8, 9)
    enqueue(10, priority=5, text="long " * 400)
    enqueue(11, expires_in=3_600_000)
    ask(database.cancel([jid(9)], "by hand"))
    enqueue(12, queue="slow")
    ask(database.pause(["slow"], "too hot"))


def frozen(server: Redis, prefix: str) -> dict[str, Any]:
    """Every key of a namespace."""

    def text(raw: bytes) -> str:
        return b64encode(raw).decode()

    keys: dict[str, Any] = {}
    for key in sorted(server.keys(prefix.replace("{", "[{]").replace("}", "[}]") + ":*")):
        kind, name = server.type(key).decode(), key.decode().removeprefix(prefix + ":")
        if kind == "hash":
            keys[name] = {"hash": {text(field): text(value) for field, value in server.hgetall(key).items()}}
        elif kind == "zset":
            keys[name] = {"zset": {text(it): score for it, score in server.zrange(key, 0, -1, withscores=True)}}
        elif kind == "list":
            keys[name] = {"list": [text(it) for it in server.lrange(key, 0, -1)]}
        elif kind == "set":
            keys[name] = {"set": sorted(text(it) for it in server.smembers(key))}
    return {name: value for name, value in keys.items() if not name.startswith(("bell:", "watch", "minute:", "hour:"))}


def thaw(server: Redis, prefix: str, keys: dict[str, Any]) -> None:
    """Write a frozen store into an empty namespace."""
    for name, it in keys.items():
        key = f"{prefix}:{name}"
        if "hash" in it:
            server.hset(key, mapping={b64decode(field): b64decode(value) for field, value in it["hash"].items()})
        elif "zset" in it:
            server.zadd(key, {b64decode(member): score for member, score in it["zset"].items()})
        elif "list" in it:
            server.rpush(key, *(b64decode(entry) for entry in it["list"]))
        else:
            server.sadd(key, *(b64decode(member) for member in it["set"]))


def main() -> None:
    """Write the file of the current format."""
    url = sys.argv[1]
    database = open_database(url, namespace="frozen", now=lambda: NOW)
    connection = database.connect()
    connection.ask(database.flush())
    connection.close()
    connection = database.connect()
    fill(database, connection.ask)
    with Redis.from_url(url, protocol=2) as server:
        keys = frozen(server, tag("frozen"))
    number = b64decode(keys["meta"]["hash"][b64encode(b"format").decode()]).decode()
    (FOLDER / f"format{number}.json").write_text(json.dumps(keys, indent=1) + "\n")
    connection.ask(database.flush())
    connection.close()


if __name__ == "__main__":
    main()
