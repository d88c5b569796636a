"""What can be said about a store from the outside: rules over facts, each with what to do in plain words.

Pure: `app.doctor()` gathers the facts, `procession doctor` prints the grades, and a queue worker asks `evicting`
before it begins. Nothing here connects, and nothing needs a right: what the server does not say cannot be checked,
and is said so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from procession.database import Counts, Inspection, QueueInfo, WorkerInfo
from procession.job import UNKNOWN_NAME, Job

Grade = Literal["ok", "warning", "problem", "unknown"]

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
NEARLY_FULL = 0.9
CLOCK_APART = 1_000
"""Milliseconds."""
UNSERVED = 60_000
"""Milliseconds that a job may wait in a queue which no worker serves before that is a problem: a deploy takes a
while."""
SAMPLED = 1_000
"""Delayed jobs that are looked at for names which no worker knows: those due next."""


class Facts(Struct, frozen=True, kw_only=True):
    """All that the rules look at."""

    inspection: Inspection
    queues: list[QueueInfo]
    workers: list[WorkerInfo]
    counts: Counts
    delayed: list[Job]
    """Up to `SAMPLED` delayed jobs, those due next."""
    clock: int
    """This machine's clock, milliseconds since the epoch, when the store told its own."""


class Check(Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    name: str
    grade: Grade
    says: str
    do: str = ""
    """What to do about it; empty when there is nothing to do."""


def evicting(inspection: Inspection) -> bool | None:
    """True when a full server throws keys away instead of refusing; None when it does not say."""
    return inspection.policy.startswith(("allkeys-", "volatile-")) if inspection.policy else None


def examine(facts: Facts) -> list[Check]:
    """Every check, the server's first."""
    it = facts.inspection
    return [
        _version(it),
        _role(it),
        _eviction(it),
        _memory(it),
        *_persistence(it),
        _clients(it),
        _clock(it, facts.clock),
        *_unserved(facts),
        *_paused(facts),
        *_unknown_names(facts),
        _leases(it, facts.workers),
        _contradictions(it, facts.counts),
    ]


def _check(name: str, grade: Grade, says: str, do: str = "") -> Check:
    return Check(name=name, grade=grade, says=says, do=do)


def _silent(name: str) -> Check:
    return _check(name, "unknown", "the server does not say", "allow this user INFO, or look on the server itself")


def _version(it: Inspection) -> Check:
    if it.kind == "memory":
        return _check("server", "ok", "in this process's memory: gone when it ends, seen by no other process")
    numbers = tuple(int(part) for part in it.version.split(".")[:2] if part.isdigit())
    if it.kind not in OLDEST or len(numbers) < 2:
        return _silent("server")
    said = f"{it.kind} {it.version}, up {_duration(it.uptime)}, format {it.format or 'not yet written'}"
    said += ", one node of a cluster" if it.cluster else ""
    if numbers < OLDEST[it.kind]:
        return _check("server", "problem", said, "upgrade it: Redis 7.0 or Valkey 7.2 at least are needed")
    return _check("server", "ok", said)


def _role(it: Inspection) -> Check:
    if it.kind == "memory":
        return _check("role", "ok", "the only one")
    if not it.role:
        return _silent("role")
    if it.role != "master":
        return _check("role", "problem", "this is a replica: it takes no writes", "connect to its primary")
    copies = f"{it.replicas} connected" if it.replicas else "none, so this machine's disk is the only copy"
    return _check("role", "ok", f"primary; replicas: {copies}")


def _eviction(it: Inspection) -> Check:
    gone = evicting(it)
    if gone is None:
        return _silent("eviction")
    if gone:
        return _check(
            "eviction",
            "problem",
            f"maxmemory-policy is {it.policy}: when its memory is full the server throws keys of ours away, silently",
            "set maxmemory-policy to noeviction; a full store then refuses new jobs and still drains",
        )
    return _check("eviction", "ok", "a full store refuses new jobs (noeviction) and still drains")


def _memory(it: Inspection) -> Check:
    if it.kind == "memory":
        return _check("memory", "ok", "that of this process")
    if it.max_memory is None or it.used_memory is None:
        return _silent("memory")
    used = f"{it.used_memory / 1e6:,.0f} MB used"
    if not it.max_memory:
        return _check(
            "memory",
            "warning",
            f"{used}, without a bound: when the machine is full, the kernel ends the server",
            "set maxmemory to what the machine can spare",
        )
    full = it.used_memory / it.max_memory
    says = f"{used}, {full:.0%} of {it.max_memory / 1e6:,.0f} MB"
    if full > NEARLY_FULL:
        return _check("memory", "problem", says, "raise maxmemory, keep less (keep_processed …), or drain the queues")
    return _check("memory", "ok", says)


def _persistence(it: Inspection) -> Iterator[Check]:
    if it.kind == "memory":
        return
    if it.append_only is None:
        yield _silent("persistence")
    elif not it.append_only:
        yield _check(
            "persistence",
            "warning",
            "no append-only file: when the server ends, what came after its last snapshot is lost, if it takes any",
            "set appendonly yes",
        )
    elif it.append_only_ok is False:
        yield _check("persistence", "problem", "writing the append-only file fails", "look for a full or broken disk")
    else:
        yield _check(
            "persistence",
            "ok",
            "append-only file; synced once a second by default, so a power cut loses up to about one second",
        )
    if it.snapshot_ok is False:
        yield _check(
            "snapshot",
            "problem",
            "the last snapshot failed; the server may refuse writes for it",
            "look for a full disk, or for too little memory to fork",
        )


def _clients(it: Inspection) -> Check:
    if it.kind == "memory":
        return _check("clients", "ok", "this process")
    if it.clients is None or not it.max_clients:
        return _silent("clients")
    says = f"{it.clients} of at most {it.max_clients:,} connections"
    if it.clients > NEARLY_FULL * it.max_clients:
        return _check("clients", "warning", says, "raise maxclients, or look who connects")
    return _check("clients", "ok", says)


def _clock(it: Inspection, clock: int) -> Check:
    apart = abs(it.now - clock)
    if apart > CLOCK_APART:
        return _check(
            "clock",
            "warning",
            f"this machine and the store are {apart / 1_000:.1f} s apart: leases and delays go by the store's clock and"
            " do not mind, a moment given with at= does",
            "let both follow a time server",
        )
    return _check("clock", "ok", "this machine and the store agree within a second")


def _unserved(facts: Facts) -> Iterator[Check]:
    served = {queue for worker in facts.workers for queue in worker.queues}
    waiting = [it for it in facts.queues if it.queued and it.name not in served]
    for it in waiting:
        late = bool(it.oldest) and facts.inspection.now - it.oldest > UNSERVED
        yield _check(
            "queues",
            "problem" if late else "warning",
            f"{it.queued:,} jobs wait in {it.name}, and no worker serves it",
            f"start one: procession worker MODULE:APP -q {it.name}",
        )
    if not waiting:
        yield _check("queues", "ok", f"every queue with jobs is served; {len(facts.workers)} workers")


def _paused(facts: Facts) -> Iterator[Check]:
    for it in facts.queues:
        if it.paused:
            why = f" ({it.reason})" if it.reason else ""
            yield _check("queues", "warning", f"{it.name} is paused{why}", f"procession queues resume {it.name}")


def _unknown_names(facts: Facts) -> Iterator[Check]:
    names = Counter(
        job.reason.removeprefix(UNKNOWN_NAME) for job in facts.delayed if job.reason.startswith(UNKNOWN_NAME)
    )
    for name, number in sorted(names.items()):
        more = " or more" if len(facts.delayed) >= SAMPLED else ""
        yield _check(
            "names",
            "warning",
            f"{number}{more} jobs wait because no worker knows the name {name}",
            "deploy a worker that has it, or give the renamed job aliases=[…]; nothing is discarded",
        )


def _leases(it: Inspection, workers: Sequence[WorkerInfo]) -> Check:
    if it.expired_leases:
        return _check(
            "leases",
            "warning",
            f"{it.expired_leases} of {len(workers)} workers let their lease end and were not taken back yet",
            "any living worker takes their jobs back within seconds; start one if there is none",
        )
    return _check("leases", "ok", f"{len(workers)} workers, each with a lease")


def _contradictions(it: Inspection, counts: Counts) -> Check:
    if it.doubts:
        return _check(
            "audit",
            "warning",
            f"{it.doubts} queues have fewer entries than jobs, and are being looked through",
            "procession repair shows the whole; with --apply it is mended at once",
        )
    mended = f"; mended so far: {counts.repaired}" if counts.repaired else ""
    return _check("audit", "ok", f"nothing in doubt{mended}")


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return "for a time unknown"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
