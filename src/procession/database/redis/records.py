"""The packed state record in Python, and a job put together from the places that hold a part of it.

The layout is the one of `lua/lib/record.lua`; the contract suite reads through here what the scripts wrote.
"""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import msgspec

from procession.job import Failure, Job, Spec, State

LAYOUT = struct.Struct(">BBbHBBH")
STATES = (
    State.QUEUED,
    State.DELAYED,
    State.BLOCKED,
    State.RUNNING,
    State.PROCESSED,
    State.FAILED,
    State.CANCELLED,
)
TIMES = 5
TIME_BYTES = 6

_spec = msgspec.json.Decoder(Spec)
_args = msgspec.json.Decoder(dict[str, Any])
_failure = msgspec.json.Decoder(Failure)


def unpack(record: bytes) -> dict[str, Any]:
    """The fields of a packed state record, named as in `Job`."""
    _version, state, priority, attempt, crashes, cancel, _place = LAYOUT.unpack_from(record)
    at = LAYOUT.size
    times = []
    for _ in range(TIMES):
        times.append(int.from_bytes(record[at : at + TIME_BYTES], "big"))
        at += TIME_BYTES
    texts = []
    for _ in range(4):
        length = record[at]
        texts.append(record[at + 1 : at + 1 + length])
        at += 1 + length
    queue, worker, _token, reason = texts
    return {
        "state": STATES[state - 1],
        "priority": priority,
        "attempt": attempt,
        "crashes": crashes,
        "cancel_asked": bool(cancel),
        "enqueued_at": times[0],
        "due_at": times[1],
        "start_at": times[2],
        "finish_at": times[3],
        "expires_at": times[4],
        "queue": queue.decode(),
        "worker": worker.decode(),
        "reason": reason.decode(errors="replace"),
    }


def job_from(row: list[Any]) -> Job:
    """A job from a row of the scripts: jid, state record, spec, errors, result."""
    jid, record, spec, errors, result = row[:5]
    fields = unpack(record)
    failures = tuple(_failure.decode(line) for line in (errors or b"").split(b"\n") if line)
    fields.update(jid=UUID(bytes=jid), failures=failures, result=msgspec.Raw(result) if result else None)
    try:
        asked = _spec.decode(spec or b"")
        args = _args.decode(asked.args)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Job(name="", args={}, raw=spec or b"", **fields)
    return Job(name=asked.name, args=args, attempts=asked.attempts, timeout=asked.timeout, tags=asked.tags, **fields)
