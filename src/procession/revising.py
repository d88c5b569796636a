"""Edit and retry: a finished job runs again with other arguments, checked as those of an enqueue are.

A generator that yields questions and is sent the answers, so that `app.retry(jid, args=…)` and its async twin are one
line each; the command line and the pages call those. What the store does is `database/revision.py`: it applies the new
spec only to the job as it was read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from procession.codec import checked_plain, encode_spec
from procession.database import Database, Revision, Walk
from procession.errors import ConfigError, Sealed
from procession.job import Job, Spec, SpecOptions
from procession.limits import Slot
from procession.registry import Registered, Registry
from procession.sealing import is_sealed, opened
from procession.unique import LONGEST_KEY


def revised(
    database: Database, registry: Registry, jid: UUID, args: Mapping[str, Any], finish_at: int | None = None
) -> Walk[bool]:
    """Retry a job with other arguments. False when it is not there, not finished, was finished at another time than
    `finish_at` (where that is given), or another job holds its unique key.

    Raises:
        BadArguments, TooLarge: the arguments do not fit the job, where this app knows it.
        Sealed: its arguments cannot be opened here, so they are not replaced.
        ConfigError: nothing here can say what its unique key would be, or its record cannot be read.
    """
    found = yield (database.find([jid]),)
    job: Job | None = found[0]
    if job is None or not job.state.final or finish_at not in (None, job.finish_at):
        return False
    changed = yield (database.revise([revision(job, registry, args)]),)
    answer: bool = changed[0]
    return answer


def revision(job: Job, registry: Registry, args: Mapping[str, Any]) -> Revision:
    """What is asked of the store for a job as it is stored. Raises as `revised`."""
    if not job.name:
        raise ConfigError(f"what is stored of job {job.jid} cannot be read, so its arguments cannot be edited")
    registered, sealing = registry.get(job.name), registry.policies.sealing
    plain = opened(job, sealing)
    if closed(plain):
        raise Sealed(f"the arguments of job {job.jid} are sealed, and this app has no codec= that opens them")
    encoded = checked_plain(args) if registered is None else registered.signature.checked(args)
    text, key = _unique(job, plain, registered, encoded)
    limit, slot = _limit(job, plain, registered, encoded)
    stored = Raw(encoded if sealing is None else sealing.seal(encoded, job.jid, "args"))
    asked = SpecOptions(
        attempts=job.attempts,
        timeout=job.timeout,
        tags=job.tags,
        unique=text if not key or sealing is None else sealing.seal_text(text, job.jid, "unique"),
        limit=limit if slot is None or sealing is None else sealing.seal_text(limit, job.jid, "limit"),
        headers=job.headers,
    )
    spec = encode_spec(Spec(job.name, stored, asked))
    return Revision(jid=job.jid, finish_at=job.finish_at, spec=spec, key=key, slot=slot)


def _limit(job: Job, plain: Job, registered: Registered | None, encoded: bytes) -> tuple[str, Slot | None]:
    """The text of its limit from now on, and the slot to ask for where it changes: likewise. Where nobody here knows
    the limit, it stays under the one that it has."""
    if registered is None or registered.limit is None or not job.limit:
        return job.limit, None
    rule, signature = registered.limit, registered.signature
    if rule.text(msgspec.json.encode(plain.args), signature) != plain.limit:
        return job.limit, None
    text = rule.text(encoded, signature)
    return text, rule.slot(text)


def closed(plain: Job) -> bool:
    """True when the arguments of a job, opened as far as can be, are sealed still."""
    return is_sealed(msgspec.json.encode(plain.args))


def _unique(job: Job, plain: Job, registered: Registered | None, encoded: bytes) -> tuple[str, bytes]:
    """The text of its unique key from now on, and the key where it changes: one that was given with the enqueue stays,
    one that is made of the arguments is made anew."""
    if not job.unique:
        return "", b""
    if registered is None:
        raise ConfigError(f"job {job.jid} has a unique key, which only an app that knows {job.name} can make anew")
    rule, signature = registered.unique, registered.signature
    if not rule or rule.text(msgspec.json.encode(plain.args), signature)[:LONGEST_KEY] != plain.unique:
        return job.unique, b""
    text = rule.text(encoded, signature)
    return text[:LONGEST_KEY], rule.asked(registered.name, text).key
