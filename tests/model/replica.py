"""A failover without a second server: a namespace as it was at an earlier moment takes the place of what it became.

That is what a promoted replica holds whose link was cut at that moment. Expiries are kept.
"""

from __future__ import annotations

from redis import Redis

from procession.database.redis.keys import tag

Snapshot = dict[bytes, tuple[int, bytes]]
"""Key → milliseconds until it expires (0: never), and its value as the server dumps it."""


def snapshot(server: Redis, namespace: str) -> Snapshot:
    """What the replica knows when its link is cut now."""
    return {
        key: (max(server.pttl(key), 0), value)
        for key in server.scan_iter(match=f"{tag(namespace)}:*", count=1_000)
        if (value := server.dump(key)) is not None
    }


def fail_over(server: Redis, namespace: str, known: Snapshot) -> None:
    """The replica takes over."""
    with server.pipeline() as together:
        for key in server.scan_iter(match=f"{tag(namespace)}:*", count=1_000):
            together.delete(key)
        for key, (expiry, value) in known.items():
            together.restore(key, expiry, value)
        together.execute()
