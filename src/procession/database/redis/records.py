"""The packed record in Python, and a job put together from the places that hold a part of it.

The layout is the one of `lua/lib/record.lua`; the contract suite reads through here what the scripts wrote.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import Any
from uuid import UUID

import msgspec

from procession.clock import monotonic
from procession.database.queue import Claims
from procession.database.redis.notes import progress_from
from procession.database.redis.rules import rules_of
from procession.job import Claimed, Failure, Job, NewJob, Outcome, Spec, State, jid_of

HEAD = struct.Struct(">BBHHBBbB")
PLAN = struct.Struct(">6s6s")
HAS_PLAN, HAS_HISTORY, CANCEL, HAS_ERRORS, HAS_RESULT, APART, HAS_RULES, HAS_NOTES = 1, 2, 4, 8, 16, 32, 64, 128
STATES = (
    State.QUEUED,
    State.DELAYED,
    State.BLOCKED,
    State.RUNNING,
    State.PROCESSED,
    State.FAILED,
    State.CANCELLED,
)

JIDS, SINCE = struct.Struct(">QQ"), struct.Struct(">HI")
FACTS = struct.Struct(">BHB6sHI")
"""What a claim answers of a job that is not new, in front of its spec: 255, attempt, crashes, deadline or 0, since when
it is ready or 0. Of a new one it says that instant alone, and no instant begins with 255."""

_spec = msgspec.json.Decoder(Spec)
_args = msgspec.json.Decoder(dict[str, Any])
_failure = msgspec.json.Decoder(Failure)


def _time(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def unpack(record: bytes) -> tuple[dict[str, Any], bytes]:
    """The head of a record as fields named as in `Job`, but for the worker, and the spec behind it (empty when it lies
    apart)."""
    _version, state, _place, attempt, crashes, flags, priority, length = HEAD.unpack_from(record)
    at = HEAD.size + length
    fields: dict[str, Any] = {
        "state": STATES[state - 1],
        "priority": priority,
        "attempt": attempt,
        "crashes": crashes,
        "cancel_asked": bool(flags & CANCEL),
        "queue": record[HEAD.size : at].decode(),
    }
    if flags & HAS_HISTORY:
        ended = 0 if fields["state"] is State.RUNNING else 6
        fields.update(start_at=_time(record[at : at + 6]), finish_at=_time(record[at + 6 : at + 6 + ended]))
        at += 10 + ended  # past the number of its worker, whose name comes beside the record
        at += 1 + record[at]  # and past the token
        reason = record[at + 1 : at + 1 + record[at]]
        at += 1 + len(reason)
        fields["reason"] = reason.decode(errors="ignore")  # it is cut at 200 bytes, maybe within a letter
    fields["enqueued_at"] = _time(record[at : at + 6])
    at += 6
    if flags & HAS_PLAN:
        due, expires = PLAN.unpack_from(record, at)
        fields.update(due_at=_time(due), expires_at=_time(expires))
        at += PLAN.size
    return fields, record[at:]


def enqueue_arguments(jobs: Sequence[NewJob]) -> list[Any]:
    """Jobs as `enqueue.lua` reads them: in runs of one queue and priority, and plain, with a plan, or with rules."""
    arguments: list[Any] = []
    kind: tuple[str, int, int] | None = None
    at = 0
    for job in jobs:
        planned = 1 if job.delay or job.at or job.expires_in or job.expires_at else 0
        if job.unique is not None or job.deadline or job.slot is not None:
            planned = 2
        if kind != (job.queue, job.priority, planned):
            kind = (job.queue, job.priority, planned)
            arguments += (job.queue, job.priority, 0, planned)
            at = len(arguments) - 2
        arguments[at] += 1
        arguments += (job.jid.int.to_bytes(16, "big"), job.spec)  # as its `bytes`, without a call
        if planned:
            arguments += (job.delay, job.at, job.expires_in, job.expires_at)
        if planned == 2:
            arguments.append(rules_of(job))
    return arguments


def settle_arguments(outcomes: Sequence[Outcome]) -> list[Any]:
    """Outcomes as `settle.lua` reads them: in runs of what was processed under one token, and of all else."""
    arguments: list[Any] = []
    for token, run in groupby(outcomes, _plain_token):
        if token:
            alike = [*run]
            results = [it.value or b"" for it in alike]
            arguments += (token, b"".join([it.jid.int.to_bytes(16, "big") for it in alike]))
            arguments += (b"1", *results) if any(results) else (b"0",)
        else:
            packed = [*map(_packed, run)]
            arguments += (b"", len(packed), *packed)
    return arguments


def _plain_token(it: Outcome) -> bytes:
    """The claim of a job that was processed, with nothing else to say; nothing for any other outcome."""
    return it.token if it.move == "process" and not it.reason and not it.failure else b""


def _packed(it: Outcome) -> bytes:
    move, reason = it.move.encode(), it.reason.encode()[:200]
    value, failure = it.value or b"", it.failure or b""
    return b"".join((
        it.jid.bytes, bytes((len(it.token),)), it.token, bytes((len(move),)), move, it.delay.to_bytes(6, "big"),
        bytes((len(reason),)), reason, len(value).to_bytes(4, "big"), value, len(failure).to_bytes(4, "big"), failure,
    ))  # fmt: skip


def claimed_from(reply: list[Any], token: bytes, asked: Sequence[str]) -> Claims:
    """The answer of `claim.lua`; `asked` are the queues that it was asked for."""
    now, next_due, first, said, jids, runs, *rows = reply
    queues: list[str] = []
    for at in range(0, len(runs), 2):
        queues += [asked[int(runs[at])]] * runs[at + 1]
    claimed, zero, since_of = [], now - round(monotonic() * 1_000), SINCE.unpack_from
    jobs = zip(JIDS.iter_unpack(jids), queues, rows, strict=True)
    for fence, ((high, low), queue, row) in enumerate(jobs, int(first)):
        attempt, crashes, left, at = 1, 0, None, SINCE.size
        its_high, its_low = since_of(row)
        if its_high >= 0xFF00:
            _, attempt, crashes, deadline, its_high, its_low = FACTS.unpack_from(row)
            left, at = _time(deadline) - now if any(deadline) else None, FACTS.size
        since = its_high << 32 | its_low
        waited = (now - since if now > since else 0) if since else None
        jid = jid_of(high << 64 | low)
        claimed.append(Claimed(jid, token, queue, row[at:], attempt, crashes, fence, left, waited, zero))
    return Claims(claimed, now, next_due, bool(said & 1), bool(said & 2))


def rows_from(columns: list[Any]) -> Iterator[tuple[bytes, Any, Any]]:
    """What the scripts answer of jobs, as `lua/lib/rows.lua` puts it: id, where each stands, and the job, or None."""
    jids, records, positions, *apart = columns
    parts = (column or repeat(None, len(jids)) for column in apart)
    for jid, record, position, *part in zip(jids, records, positions, *parts, strict=True):
        yield jid, position, record and _job(jid, record, *part)


def _job(
    jid: bytes,
    record: bytes,
    apart: bytes | None,
    errors: bytes | None,
    result: bytes | None,
    notes: Any,
    worker: bytes | None,
) -> Job:
    fields, spec = unpack(record)
    spec = apart or spec
    failures = tuple(_failure.decode(line) for line in (errors or b"").split(b"\n") if line)
    fields["progress"], fields["worker"] = progress_from(notes), (worker or b"").decode()
    fields.update(jid=UUID(bytes=jid), failures=failures, result=msgspec.Raw(result) if result else None)
    try:
        asked = _spec.decode(spec)
        args = _args.decode(asked.args)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Job(name="", args={}, raw=spec, **fields)
    return Job(name=asked.name, args=args, **msgspec.structs.asdict(asked.options), **fields)
