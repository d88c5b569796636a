"""From a call to a job in the store: options checked, record built, one operation. Pure; the client asks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Generic, Literal, TypeVar, cast, get_args
from uuid import UUID

import msgspec
from msgspec import Struct

from procession.clock import instant, lasting, milliseconds
from procession.codec import encode_spec
from procession.database import Database, Durability, Operation
from procession.errors import (
    ConfigError,
    DatabaseError,
    DuplicateJob,
    EnqueueError,
    Refused,
    StoreRefused,
    Unavailable,
    WrongVersion,
)
from procession.job import NewJob, Spec, SpecOptions, Stored, new_jids, parse_jid
from procession.limits import Limit, Limited, limited
from procession.names import check_headers, check_queue, check_tags
from procession.registry import Registered, check_priority
from procession.retry import Random, chance
from procession.sealing import Keyed, Whose
from procession.unique import LONGEST_KEY, UniqueOptions, for_call

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

BATCH = 1_000
"""Most jobs that one script stores, so that it holds the server for a few milliseconds at most."""
TRIP = 10 * BATCH
"""Most jobs that travel in one round trip."""


class Options(UniqueOptions, total=False):
    """What `using()` takes: everything about one enqueue that is not an argument of the job."""

    delay: float | str | timedelta | None
    at: datetime | None
    priority: int | None
    queue: str | None
    timeout: float | str | timedelta | None
    attempts: int | None
    jid: str | UUID | None
    expires: float | str | timedelta | datetime | None
    deadline: float | str | timedelta | None
    limit: Limit | Literal[False] | None
    tags: Sequence[str] | None
    headers: Mapping[str, str] | None
    durability: Durability | None


class Call(Struct, Generic[R_co], frozen=True):
    """A call of a job as a value: its code, its arguments, already checked and encoded, and its options."""

    registered: Registered
    arguments: bytes
    options: Options


def check_options(options: Options) -> Options:
    """Raises ConfigError for an option that cannot be kept. Options that are None count as not given."""
    known = {name: value for name, value in options.items() if value is not None}
    unknown = known.keys() - Options.__annotations__.keys()
    if unknown:
        raise ConfigError(f"unknown option {min(unknown)!r}; known are {', '.join(Options.__annotations__)}")
    if "delay" in known and "at" in known:
        raise ConfigError("give delay= or at=, not both")
    if "queue" in known:
        check_queue(known["queue"])  # an empty one would be passed over later
    attempts = known.get("attempts")
    if attempts is not None and (not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1):
        raise ConfigError(f"attempts={attempts!r} must be a whole number, at least 1, the first run included")
    durability = known.get("durability", "memory")
    if durability not in get_args(Durability):
        raise ConfigError(f"durability={durability!r} must be one of {', '.join(get_args(Durability))}")
    return cast("Options", known)


def new_job(call: Call[Any], jid: UUID, queue: str | None = None) -> NewJob:
    """The record that is stored for a call, under this jid unless its options name one. Raises ConfigError."""
    it, options = call.registered, call.options
    if not options and queue is None and it.spec is not None and it.sealing is None:
        spec = b"".join((it.spec[0], call.arguments, it.spec[1]))
        return NewJob(jid=jid, spec=spec, queue=it.queue, priority=it.priority, expires_in=it.expires)
    due, expires = _due(options), _expires(options, it.expires)
    unique = for_call(it.unique, options, it.signature)
    if unique.debounce:
        due = _debounced(due, unique.debounce)
    timeout, text = options.get("timeout"), unique.text(call.arguments, it.signature) if unique else ""
    if (wanted := options.get("jid")) is not None:
        jid = parse_jid(wanted)
    key = unique.asked(it.name, text) if unique else None
    whose = jid if key is None or key.conflict != "replace" else Keyed(it.name, key.key)
    text = text[:LONGEST_KEY]
    limit = limit_of(call, options)
    limited_by = limit.text(call.arguments, it.signature) if limit else ""
    asked = SpecOptions(
        attempts=options.get("attempts"),
        timeout=None if timeout is None else milliseconds(timeout, "timeout"),
        tags=check_tags(options["tags"]) if "tags" in options else it.tags,
        unique=text if it.sealing is None else it.sealing.seal_text(text, whose, "unique"),
        headers=check_headers(options.get("headers") or {}),
        limit=limited_by if it.sealing is None else it.sealing.seal_text(limited_by, whose, "limit"),
    )
    return NewJob(
        jid=jid,
        spec=encode_spec(Spec(it.name, msgspec.Raw(_stored(call, whose)), asked)),
        queue=check_queue(queue or options.get("queue") or it.queue),
        priority=check_priority(options["priority"]) if "priority" in options else it.priority,
        unique=key,
        slot=limit.slot(limited_by) if limit else None,
        deadline=lasting_of(options, "deadline", it.deadline),
        **due,
        **expires,
    )


def limit_of(call: Call[Any], options: Options) -> Limited | None:
    """The limit that a call comes under: that of its options, or of its job. Raises ConfigError."""
    it = call.registered
    return limited(options["limit"], it.name, it.signature) if "limit" in options else it.limit


def bound(calls: Iterable[Call[R]]) -> list[Call[R]]:
    """The calls. Raises ConfigError for what is none, such as what a job function returned that was called itself."""
    taken = list(calls)
    for it in taken:
        if not isinstance(it, Call):
            raise ConfigError(f"{it!r:.200} is no bound call: write job.bind(…) for each, as in job.bind('ada')")
    return taken


def spread_over(calls: Sequence[Call[R]], span: float | str | timedelta, rng: Random | None = None) -> list[Call[R]]:
    """The calls, each due in its own equal part of a time span, at a moment of it drawn by chance: so the load is even,
    and two batches do not meet. Raises ConfigError for a call that says itself when it is due."""
    part = milliseconds(span, "spread") / 1_000 / max(len(calls), 1)
    spread, draw = [], (rng or chance()).uniform
    for number, call in enumerate(calls):
        if {"delay", "at", "debounce"} & call.options.keys() or call.registered.unique.debounce:
            raise ConfigError("spread= says when the jobs are due; leave out delay=, at= and debounce=")
        delay = draw(number * part, (number + 1) * part)
        spread.append(msgspec.structs.replace(call, options={**call.options, "delay": delay}))
    return spread


def _stored(call: Call[Any], whose: Whose) -> bytes:
    """The arguments as the store gets them."""
    sealing = call.registered.sealing
    return call.arguments if sealing is None else sealing.seal(call.arguments, whose, "args")


def sent_to(call: Call[R], queue: str | None) -> Call[R]:
    """The same call with this queue among its options, unless that is None."""
    return call if queue is None else Call(call.registered, call.arguments, {**call.options, "queue": queue})


def durability_of(call: Call[Any], default: Durability) -> Durability:
    """What an enqueue of this call waits for."""
    return call.options.get("durability") or default


def trips(calls: Sequence[Call[Any]], durability: Durability) -> Iterator[tuple[Durability, list[NewJob]]]:
    """The records for calls, in order, in as few round trips as their number and durability allow; `durability` is that
    of calls that name none."""

    def wanted(call: Call[Any]) -> Durability:
        return durability_of(call, durability)

    for kept, run in groupby(calls, wanted):
        alike = [*run]
        jobs = [new_job(call, jid) for call, jid in zip(alike, new_jids(len(alike)), strict=True)]
        for first in range(0, len(jobs), TRIP):
            yield kept, jobs[first : first + TRIP]


def _due(options: Options) -> dict[str, int]:
    delay, at = options.get("delay"), options.get("at")
    if delay is not None:
        return {"delay": milliseconds(delay, "delay")}
    return {"at": instant(at, "at")} if at is not None else {}


def _debounced(due: dict[str, int], quiet: int) -> dict[str, int]:
    if due:
        raise ConfigError("debounce= says when the job is due; leave out delay= and at=")
    return {"delay": quiet}


def lasting_of(options: Options, name: Literal["expires", "deadline"], default: int) -> int:
    """The duration that the options of an enqueue name, else the job's own; 0 for none. Raises ConfigError."""
    wanted: Any = options.get(name)
    return default if wanted is None else lasting(wanted, name)


def _expires(options: Options, default: int) -> dict[str, int]:
    expires = options.get("expires")
    if isinstance(expires, datetime):
        return {"expires_at": max(instant(expires, "expires"), 1)}
    return {"expires_in": lasting_of(options, "expires", default)}


def joined(answers: Any) -> list[Stored]:
    """The answers to the operations of `Enqueuer.enqueue`, as one list in order."""
    return answers if isinstance(answers, list) else [stored for answer in answers for stored in answer]


def refusals(asked: Sequence[tuple[Durability, list[NewJob]]], stored: Sequence[Stored]) -> dict[int, DuplicateJob]:
    """The answers to all trips of one call that are errors to their callers, in order and each by its place."""
    jobs = (job for _, trip in asked for job in trip)
    found = (refusal(job, it) for job, it in zip(jobs, stored, strict=True))
    return {place: error for place, error in enumerate(found) if error is not None}


def refusal(job: NewJob, stored: Stored) -> DuplicateJob | None:
    """The error for one job: another one holds its unique key, and that was to be an error."""
    if job.unique is not None and job.unique.conflict == "raise" and stored.jid != job.jid:
        return DuplicateJob(f"job {stored.jid} holds this unique key; wait for it, or cancel it", jid=stored.jid)
    return None


def checked(job: NewJob, stored: Stored) -> Stored:
    """The answer to one job. Raises its `refusal`."""
    error = refusal(job, stored)
    if error is not None:
        raise error
    return stored


class Enqueuer:
    """Builds the question that stores jobs, and turns its failure into an error for the caller."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(self, jobs: Sequence[NewJob]) -> list[Operation[list[Stored]]]:
        """Store jobs, waking one queue worker per queue: operations to be asked together, in one round trip."""
        return [self._database.enqueue(jobs[first : first + BATCH]) for first in range(0, len(jobs), BATCH)]

    @staticmethod
    def failed(error: DatabaseError, jobs: Sequence[NewJob]) -> EnqueueError:
        """The error for the caller: does the job exist or not, and what to do."""
        jids = tuple(job.jid for job in jobs)
        if isinstance(error, StoreRefused | WrongVersion):
            if len(jobs) > BATCH:  # each script is atomic, the trip is not
                return Refused(f"only some of these jobs may be stored: {error}", stored="unknown", jids=jids)
            return Refused(f"nothing was stored: {error}", jids=jids)
        if isinstance(error, Unavailable) and not error.asked:
            return EnqueueError(f"nothing was stored: {error}", jids=jids)
        return EnqueueError(
            f"{error}; enqueue again with the same jid ({jids[0]}) and it stays one job", stored="unknown", jids=jids
        )
