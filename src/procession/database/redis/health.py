"""Replies of `audit.lua` and `inspect.lua` as values. Called by `__init__.py` of this folder."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from procession.database.health import Audit, Finding, Inspection
from procession.database.redis.keys import row_of

PARTS = (
    "workers", "shelves", "jobs", "due", "specs", "errors", "results", "notes", "rules", "unique", "slots", "blocked",
    "limits", "counters", "keys",
)  # fmt: skip
"""In the order in which they are walked: what others are held against comes first, sums come late."""


def split_cursor(cursor: str | None) -> tuple[str, str]:
    """The part of an audit to ask for, and the position in it."""
    part, _, position = (cursor or PARTS[0]).partition(":")
    return part, position


def audit_from(reply: list[Any], part: str) -> Audit:
    """One page of an audit."""
    position, checked, rows, unchecked = reply[:4]
    findings = [_finding(*row) for row in rows]
    tallies = dict(zip((name.decode(errors="replace") for name in reply[4::2]), reply[5::2], strict=True))
    if part == "keys":
        findings += _strangers(tallies)
    return Audit(
        findings=findings,
        cursor=_following(part, position.decode(errors="surrogateescape")),
        checked=checked,
        records=tallies if part == "jobs" else {},
        entries=tallies if part == "shelves" else {},
        unchecked=unchecked.decode(errors="replace"),
    )


def _following(part: str, position: str) -> str | None:
    if position:
        return f"{part}:{position}"
    if part not in PARTS or part == PARTS[-1]:
        return None
    return PARTS[PARTS.index(part) + 1]


def _finding(kind: bytes, jid: bytes, where: bytes, mended: int) -> Finding:
    return Finding(
        kind=kind.decode(),
        jid=UUID(bytes=jid) if len(jid) == 16 else None,
        where=where.decode(errors="replace"),
        mended=bool(mended),
    )


def _strangers(types: dict[str, bytes]) -> list[Finding]:
    found = []
    for name, kind in types.items():
        row = row_of(name)
        if row is None:
            found.append(Finding(kind="key without owner", where=name))
        elif row.type != {b"zset": "sorted set"}.get(kind, kind.decode()):
            found.append(Finding(kind="wrong type", where=name))
    return found


def inspection_from(reply: list[Any]) -> Inspection:
    """What a server said of itself, from the text of its `INFO`."""
    now, stored_format, expired, doubts, info = reply
    said = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)

    def number(name: str) -> int | None:
        return int(said[name]) if said.get(name, "").isdigit() else None

    def yes(name: str, good: str) -> bool | None:
        return said[name] == good if name in said else None

    kind = "valkey" if "valkey_version" in said else "redis" if "redis_version" in said else ""
    return Inspection(
        kind=kind,
        version=said.get(f"{kind}_version", ""),
        format=(stored_format or b"").decode(errors="replace"),
        now=now,
        used_memory=number("used_memory"),
        max_memory=number("maxmemory"),
        policy=said.get("maxmemory_policy", ""),
        append_only=yes("aof_enabled", "1"),
        append_only_ok=yes("aof_last_write_status", "ok"),
        snapshot_ok=yes("rdb_last_bgsave_status", "ok"),
        role=said.get("role", ""),
        replicas=number("connected_slaves"),
        cluster=yes("cluster_enabled", "1"),
        uptime=number("uptime_in_seconds"),
        clients=number("connected_clients"),
        max_clients=number("maxclients"),
        expired_leases=expired,
        doubts=doubts,
    )
