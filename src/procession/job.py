"""The nouns of a job: what was asked for, what is stored now, what one attempt came to.

Every record is frozen: nobody edits a job. A queue worker returns an `Outcome`, and the database applies the
move that it names if the table in `moves.py` and the claim token (the fence) allow it.
None can be part of a cycle of references, so the collector is spared those that are many (`gc=False`).
Nothing here waits, reads a clock or knows a database.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, SafeUUID

from msgspec import Raw, Struct

from procession.errors import ConfigError
from procession.notes import Progress

if TYPE_CHECKING:
    from procession.limits import Slot
    from procession.unique import Unique

PRIORITIES = range(-100, 101)
"""Allowed priorities. A higher number goes first; 0 is the default; anything outside is refused, never clamped."""

UNKNOWN_NAME = "no worker knows the name "
"""How the reason of a job begins that was put back because its worker did not know its name."""


class State(StrEnum):
    """Where a job is. The last three are final."""

    QUEUED = "queued"
    DELAYED = "delayed"
    BLOCKED = "blocked"
    RUNNING = "running"
    PROCESSED = "processed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when no attempt will follow unless a person retries the job."""
        return self in FINAL


FINAL = frozenset({State.PROCESSED, State.FAILED, State.CANCELLED})
RESERVED_QUEUES = frozenset(state.value for state in FINAL)


class SpecOptions(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What else was asked for of one job, as far as the store need not know it. What is left out is not stored."""

    attempts: int | None = None
    """How many runs are allowed; None leaves it to the job's own retry policy."""
    timeout: int | None = None
    """Milliseconds per attempt; None leaves it to the job, 0 lifts it."""
    tags: tuple[str, ...] = ()
    unique: str = ""
    """The unique key as text, for people; the store knows a digest of it."""
    headers: dict[str, str] = {}
    """What travels beside the arguments, for those who stand around the job: a trace's context, a request's id."""
    limit: str = ""
    """The limit that it comes under, likewise."""


NO_OPTIONS = SpecOptions()


class Spec(Struct, frozen=True, array_like=True, gc=False):
    """What was asked for: written once as JSON that a person can read, such as `["shop.send",{"to":"ada"}]` or
    `["shop.send",{"to":"ada"},{"attempts":3}]`, never rewritten, opaque to the store."""

    name: str
    args: Raw
    """A JSON object: parameter name -> encoded value (see `codec.py`)."""
    options: SpecOptions = NO_OPTIONS


class NewJob(Struct, frozen=True, kw_only=True, gc=False):
    """One job on its way into the store."""

    jid: UUID
    spec: bytes
    queue: str
    priority: int = 0
    delay: int = 0
    """Milliseconds from the store's now; 0 means at once."""
    at: int = 0
    """Milliseconds since the epoch; 0 means not set. At most one of `delay` and `at` is set."""
    expires_in: int = 0
    """Milliseconds from the store's now; a job not started by then is cancelled. 0 means never."""
    expires_at: int = 0
    """The same as an instant; at most one of the two is set."""
    unique: Unique | None = None
    """The key that no other job may hold while this one does."""
    slot: Slot | None = None
    """The limit of which it needs a slot while it is ready or runs."""
    deadline: int = 0
    """Milliseconds from the store's now, after which no attempt begins or goes on. 0 means never."""


class Stored(Struct, frozen=True, gc=False):
    """The answer to one enqueued job: `new` is False when this jid was there already (nothing was changed), or when
    another job holds its unique key: then `jid` is that job's."""

    jid: UUID
    new: bool


class Claimed(Struct, frozen=True, gc=False):
    """A job handed to a queue worker, together with the proof (`token`) that this claim is the current one."""

    jid: UUID
    token: bytes
    queue: str
    spec: bytes
    attempt: int
    """Runs counted so far, this one included."""
    crashes: int
    fence: int
    """A number that only rises, for outside systems (DDIA, chapter 8, calls it a fencing token)."""
    left: int | None = None
    """Milliseconds from the claim until the job's deadline, 0 or less when it has passed; None without one."""
    waited: int | None = None
    """Milliseconds from when it was ready to this claim, by the store's clock; None where the store cannot say (it was
    given back, taken back or retried by hand)."""
    zero_at: int = 0
    """When `clock.monotonic()` was 0 on this machine, by the store's clock; 0 where nobody knows."""


class Outcome(Struct, frozen=True, gc=False):
    """What one attempt came to: a move to apply, if the claim is still the current one."""

    jid: UUID
    token: bytes
    move: str
    """A value of `moves.Move`: one of those that start from `running`."""
    value: bytes | None = None
    """The encoded result of a processed job."""
    failure: bytes | None = None
    """An encoded `Failure`, kept with the attempts of the job."""
    delay: int = 0
    """For retry, snooze and release: milliseconds until the job is due again."""
    reason: str = ""
    """Why it failed or was cancelled, or waits: `exhausted`, `discarded`, `unknown name`, …"""


class Crash(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the process that ran an attempt ended: what is known of a crash, bounded, as text and numbers."""

    how: str = ""
    """`signal 9 (SIGKILL)`, `exit code 1`, `lease ended` …"""
    host: str = ""
    pid: int = 0
    memory: int = 0
    """Peak resident memory of the process in bytes, 0 when unknown."""
    beside: int = 0
    """How many other jobs ran in the process when it ended."""
    log: tuple[str, ...] = ()
    """Its last log lines, oldest first; at most 20."""
    stack: str = ""
    """The stacks of its threads, where they could be had; at most 8 kB."""


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt's error, as text: no exception object survives its job."""

    attempt: int
    type: str
    message: str
    traceback: str = ""
    at: int = 0
    """Milliseconds since the epoch, the store's clock where it was known."""
    worker: str = ""
    crash: Crash | None = None
    """The dossier, when the attempt ended with its process."""
    module: str = ""
    """Where the type is defined; "" for a builtin."""
    where: str = ""
    """`module:function`, the innermost frame of the application's own code; "" when there was none."""


class Job(Struct, frozen=True, kw_only=True):
    """A job as the store holds it now: what was asked, where it is, its times, errors and result.

    All times are milliseconds since the epoch by the store's clock; 0 means "not yet".
    """

    jid: UUID
    name: str
    args: dict[str, Any]
    queue: str
    state: State
    priority: int = 0
    attempt: int = 0
    crashes: int = 0
    attempts: int | None = None
    timeout: int | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    """What was sent along beside the arguments."""
    unique: str = ""
    """Its unique key, empty for none."""
    limit: str = ""
    """The limit that it comes under, empty for none."""
    enqueued_at: int = 0
    due_at: int = 0
    start_at: int = 0
    finish_at: int = 0
    expires_at: int = 0
    worker: str = ""
    reason: str = ""
    cancel_asked: bool = False
    failures: tuple[Failure, ...] = ()
    result: Raw | None = None
    """What it returned, encoded; None until then, and when that was None."""
    progress: Progress | None = None
    raw: bytes = b""
    """The spec's bytes when they could not be decoded, so that nothing is hidden."""

    @property
    def error(self) -> str | None:
        """The last attempt's error on one line, or None."""
        if not self.failures:
            return None
        last = self.failures[-1]
        return f"{last.type}: {last.message}" if last.message else last.type

    @property
    def ran(self) -> int | None:
        """Milliseconds that the last attempt of a finished job took; None where none began, or the job is not finished.
        One that was cancelled while it waited to be repeated ran until it failed; None where it had put itself off."""
        if not self.start_at or not self.finish_at or (self.state is State.CANCELLED and not self.attempt):
            return None
        failed_at = self.failures[-1].at if self.failures and self.state is State.CANCELLED else 0
        return (failed_at if failed_at >= self.start_at else self.finish_at) - self.start_at


def jid_of(value: int) -> UUID:
    """A jid from its 128 bits: what `UUID(int=value)` returns, without looking at its six forms of input again."""
    jid = _bare(UUID)
    _set_int(jid, value)
    _set_safe(jid, _UNKNOWN)
    return jid


_bare, _UNKNOWN = object.__new__, SafeUUID.unknown
_set_int, _set_safe = UUID.int.__set__, UUID.is_safe.__set__  # type: ignore[misc, attr-defined]  # its slots


def new_jid() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then random bits, so that ids sort by time."""
    moment = time.time_ns() // 1_000_000 << 80 | _VERSION_AND_VARIANT
    return jid_of(moment | int.from_bytes(os.urandom(10), "big") & _CHANCE)


def new_jids(count: int) -> list[UUID]:
    """So many at once, of one moment: the system is asked once for the random bits of all."""
    moment, chance = time.time_ns() // 1_000_000 << 80 | _VERSION_AND_VARIANT, os.urandom(10 * count)
    return [jid_of(moment | int.from_bytes(chance[at : at + 10], "big") & _CHANCE) for at in range(0, 10 * count, 10)]


_VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62
_CHANCE = ((1 << 80) - 1) & ~(0xF << 76 | 0x3 << 62)


def parse_jid(jid: str | UUID) -> UUID:
    """Read a caller's jid. Raises ConfigError for anything that is not a UUID."""
    if isinstance(jid, UUID):
        return jid
    try:
        return UUID(jid)
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"jid {jid!r} is not a UUID; make one from your own key with uuid.uuid5(namespace, key)"
        ) from None
