"""Every key of one shard: its name, type, what it holds, what bounds it and how it goes away.

All keys of a shard carry one hash tag, `{namespace:shard}`, so that one script may touch anything in its shard and the
same text runs on a single server, on Sentinel and on Redis Cluster. The leak test compares a live store with this
table,
and the page `docs/keys.md` is printed from it.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Key(NamedTuple):
    """One row: `name` follows the tag; `<queue>`, `<priority>`, `<worker>`, `<jid>`, `<id>` stand for values."""

    name: str
    type: str
    holds: str
    bound: str
    expiry: str


KEYS = (
    Key(
        "meta",
        "hash",
        "format version, last fence, turn and worker, entries filed and shed, last recovery and audit, how far that is,"
        " whether schedules were declared",
        "14 fields",
        "flush",
    ),
    Key("jobs", "hash", "jid → record: a packed head, then the spec as JSON", "one per job", "with its job"),
    Key("specs", "hash", "jid → a spec over 1 kB, so that no move rewrites it", "one per such job", "with its job"),
    Key("errors", "hash", "jid → errors of attempts, a JSON document per line", "25 × 32 kB per job", "with its job"),
    Key("results", "hash", "jid → JSON of what the job returned", "256 kB per job", "with its job"),
    Key("unique", "hash", "digest of a unique key → jid of the job that has it", "one per such job", "with its job"),
    Key("rules", "hash", "jid → unique key, what frees it, deadline, limit", "one per such job", "with its job"),
    Key("deadlines", "sorted set", "jobs with a deadline by its time", "those not finished", "when its job ends"),
    Key("slots", "sorted set", "digest of a limit, jid of a job under way that has a slot", "such jobs", "its moves"),
    Key("blocked", "sorted set", "limit, priority, turn, jid of a job that waits for a slot", "such jobs", "its moves"),
    Key("limits", "hash", "limit → how many slots, by the newest word", "limits in use", "with its last slot"),
    Key("notes", "hash", "jid → its progress, how many log lines", "300 bytes, or 1 kB if not ASCII", "with its job"),
    Key("log:<jid>", "list", "its log lines as JSON, the oldest first", "2,000 and 256 kB", "with its job"),
    Key("due", "sorted set", "delayed jobs by due time", "delayed jobs", "promotion"),
    Key("depth", "hash", "queue → how many jobs are queued", "queues", "flush"),
    Key("doubts", "hash", "queue or final state that lacks entries → rounds of audit left", "those", "rounds, repair"),
    Key("paused", "hash", "queue → since when, why, and by whom", "queues", "resume"),
    Key("lanes:<queue>", "sorted set", "priorities that have a lane, the next first", "201", "with its last lane"),
    Key(
        "lane:<queue>:<priority>",
        "list",
        "entries (jid, and two bytes but for a job's first) in order; removed ones stay as tombstones",
        "queued + tombstones",
        "claim, compaction",
    ),
    Key(
        "lane:<queue>:<priority>:front",
        "list",
        "the older part of a lane that is being compacted",
        "as the lane",
        "claim, compaction",
    ),
    Key("leases", "sorted set", "queue worker → end of its lease", "live workers", "leave, recovery"),
    Key("workers", "hash", "queue worker → what it says of itself", "live workers", "leave, recovery"),
    Key("tokens", "hash", "queue worker → its number, token of its last claim", "live workers", "leave, recovery"),
    Key("names", "hash", "number of a queue worker → its name, for the records of jobs", "65,536", "new workers"),
    Key("left", "sorted set", "queue worker → when it left", "those of a minute", "60 s"),
    Key("deaths:<queue>", "list", "jid, which crash: runs that ended with their worker", "1,000", "heartbeat, 24 h"),
    Key("held:<worker>", "hash", "claim token → jobs not settled, ids of the claim", "its claims", "settle, recovery"),
    Key(
        "orders:<worker>",
        "hash",
        "what it is told to do and has not heard yet, and its last stack",
        "2 × 500 bytes, 32 kB",
        "1 h, leave, recovery",
    ),
    Key("trail", "list", "what people did, JSON, the oldest first", "5,000 × 1 kB", "90 days"),
    Key("processed", "list", "entries of processed jobs, the oldest first", "100,000 by default", "24 h by default"),
    Key("processed:front", "list", "the older part of it that is being compacted", "as the list", "age, compaction"),
    Key("failed", "list", "entries of failed jobs, the oldest first", "100,000 by default", "14 days by default"),
    Key("failed:front", "list", "the older part of it that is being compacted", "as the list", "age, compaction"),
    Key("cancelled", "list", "entries of cancelled jobs, the oldest first", "10,000 by default", "24 h by default"),
    Key("cancelled:front", "list", "the older part of it that is being compacted", "as the list", "age, compaction"),
    Key("counters", "hash", "counts of events, of running and of kept jobs", "15 fields", "flush"),
    Key("schedules", "hash", "schedule → what was asked, JSON", "2,000", "removal, 14 days undeclared"),
    Key("schedules:state", "hash", "schedule → next instant, last 30 runs, JSON", "as schedules", "as schedules"),
    Key("schedules:due", "sorted set", "schedule → when it is looked at next", "as schedules", "as schedules"),
    Key("schedules:declared", "sorted set", "schedule in code → when last declared", "as schedules", "as schedules"),
    Key(
        "minute:<at>",
        "hash",
        "series → counts of events, of waits and of runs in a minute, depths as it began",
        "2,000 series",
        "25 h; 8 days for the latest",
    ),
    Key("hour:<at>", "hash", "the same in an hour", "2,000 series", "8 days"),
    Key("groups", "hash", "fingerprint → a group of errors, a JSON document", "500 × 4 kB", "14 days unseen"),
    Key("groups:seen", "sorted set", "fingerprints by when they were last seen", "500", "14 days unseen"),
    Key("bell:<queue>", "list", "a ring: a job of this queue may be ready", "1", "as it is heard"),
    Key("bell:@<id>", "list", "a ring for one queue worker or one waiting caller", "1", "60 s"),
    Key("watching", "string", "set while any caller waits for a job", "1 byte", "60 s"),
    Key("watch:<jid>", "set", "callers who wait for this job", "its callers", "60 s, or when the job ends"),
)


def tag(namespace: str, shard: int = 0) -> str:
    """The hash tag that all keys of a shard begin with."""
    return f"{{{namespace}:{shard}}}"


def row_of(name: str) -> Key | None:
    """The row that describes the key `name` (without its tag), or None: a key that nobody owns."""
    for key in KEYS:
        if re.fullmatch(re.sub(r"<\w+>", ".+", re.escape(key.name)), name, re.DOTALL):
            return key
    return None
