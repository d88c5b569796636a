"""The leak check: every key of a namespace has a row in the table of keys, with its type, and fades if it says so."""

from __future__ import annotations

from redis import Redis

from procession.database.redis.keys import row_of, tag


def leaks(server: Redis, namespace: str) -> list[str]:
    """Keys of a namespace that no row of the table owns, or whose type is not the one written there."""
    prefix = tag(namespace) + ":"
    wrong = []
    for key in server.scan_iter(match=prefix.replace("{", "[{]").replace("}", "[}]") + "*", count=1000):
        name = key.decode(errors="replace").removeprefix(prefix)
        row = row_of(name)
        kind = {"zset": "sorted set"}.get(server.type(key).decode(), server.type(key).decode())
        if row is None or row.type != kind:
            wrong.append(f"{name} ({kind})")
        elif name.startswith(("bell:", "watch")) and server.ttl(key) < 0:
            wrong.append(f"{name} has no expiry")
    return wrong
