"""The Redis and Valkey database: verbs of the seam as scripts with arguments. No I/O; connections ask.

What is stored where is in `keys.py`, how it moves in `lua/`, how it is asked in `connection.py`. Redis 7.0 or Valkey
7.2 at least: scripts declare their flags, so that a full store refuses new work and still drains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from procession.database import Policy
from procession.database.health import Audit, Inspection
from procession.database.operation import AsyncConnection, Connection, Operation
from procession.database.queue import Beat, Claims, Death, Held, Promoted
from procession.database.redis.connection import RedisConnection
from procession.database.redis.health import audit_from, inspection_from, split_cursor
from procession.database.redis.keys import tag
from procession.database.redis.limits import LimitVerbs
from procession.database.redis.measures import MeasureScripts
from procession.database.redis.notes import NoteVerbs
from procession.database.redis.operation import Enqueue, RedisOperation
from procession.database.redis.orders import OrderScripts, orders_from
from procession.database.redis.records import claimed_from, rows_from, settle_arguments
from procession.database.redis.revision import RevisionScripts
from procession.database.redis.schedules import ScheduleVerbs
from procession.database.redis.scripts import script
from procession.database.redis.target import Login, Target
from procession.database.shelf import Counts, Page, Query, QueueInfo, WorkerInfo, check_cursor, described_worker
from procession.errors import ConfigError
from procession.job import Crash, Job, NewJob, Outcome, State, Stored
from procession.names import check_text

T = TypeVar("T")

PLAIN = frozenset((bytes, int, float))
"""Kinds of arguments that can be sent whatever they are."""
ACCEPTED = b"1"[0]
SCANNED = 200
"""How many jobs one page looks at when it is filtered by queue or name."""
CURSORS = {
    State.RUNNING: "after:",
    State.BLOCKED: "([0-9a-f]{2})+:",
    State.QUEUED: "[A-Za-z0-9_.-]{1,64}/-?[0-9]{1,3}/[0-9]{1,15}/([0-9a-f]{4})?:",
}
"""The position of a row in `page.lua`, where that is no number; its jid follows."""


class RedisDatabase(MeasureScripts, NoteVerbs, OrderScripts, RevisionScripts, ScheduleVerbs, LimitVerbs):
    """See `Database`. One shard; `{namespace:0}` is its hash tag."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "procession",
        policy: Policy | None = None,
        now: Callable[[], int] | None = None,
        revive: Callable[[], str] | None = None,
        credentials: Login | None = None,
    ) -> None:
        self.namespace = namespace
        self._policy = policy or Policy()
        self._now = now
        self._target = Target(url, tag(namespace), revive=revive, login=credentials)
        self.url = self._target.where

    def connect(self, budget: float = 2.0) -> Connection:
        """See `Database.connect`."""
        return RedisConnection(self._target, budget)

    def connect_async(self, budget: float = 2.0) -> AsyncConnection:
        """See `Database.connect_async`."""
        from procession.database.redis.connection_async import RedisAsyncConnection  # asyncio comes with it

        return RedisAsyncConnection(self._target, budget)

    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]:
        for it in arguments:  # here, for in a trip what cannot be sent would be the end of what others ask, too
            if type(it) not in PLAIN and not (type(it) is str and it.isascii()):
                _check_sent(it, verb)
        now = self._now() if self._now else 0
        return RedisOperation(script(verb), [now, *arguments], read)

    @property
    def _cancelled_kept(self) -> int:
        return self._policy.cancelled_count

    # The hot verbs

    def enqueue(self, jobs: Sequence[NewJob]) -> Operation[list[Stored]]:
        """See `Queue.enqueue`."""
        return Enqueue(self._now() if self._now else 0, jobs)

    def claim(
        self,
        queues: Sequence[str],
        worker: str,
        token: bytes,
        *,
        limit: int,
        lease: int,
        after: bytes = b"",
        ageing: int = 0,
    ) -> Operation[Claims]:
        """See `Queue.claim`."""
        arguments = [worker, token, after, limit, lease, ageing, *queues]
        return self._ask("claim", arguments, lambda reply: claimed_from(reply, token, queues))

    def settle(self, worker: str, outcomes: Sequence[Outcome]) -> Operation[list[bool]]:
        """See `Queue.settle`."""
        policy = self._policy
        bounds = (policy.processed_count, policy.failed_count, policy.cancelled_count, policy.max_crashes)
        arguments: list[Any] = [worker, *bounds]
        arguments += settle_arguments(outcomes)
        return self._ask("settle", arguments, lambda reply: [accepted == ACCEPTED for accepted in reply])

    def heartbeat(
        self, worker: str, *, lease: int, info: bytes, queues: Sequence[str] = (), limit: int = 0
    ) -> Operation[Beat]:
        """See `Queue.heartbeat`."""

        def read(reply: list[Any]) -> Beat:
            now, next_due, ready, recovered, repaired, left, dead, told, *rows = reply
            held = [
                Held(UUID(bytes=jid), token, bool(cancel))
                for jid, token, cancel in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
            ]
            deaths = [Death(UUID(bytes=dead[at : at + 16]), dead[at + 16]) for at in range(0, len(dead), 17)]
            orders = orders_from(told)
            return Beat(held, now, next_due, bool(ready), recovered, repaired, bool(left), deaths, orders)

        return self._ask("heartbeat", [worker, lease, info, limit, self._policy.max_crashes, *queues], read)

    def extend(self, workers: Sequence[str], *, lease: int) -> Operation[None]:
        """See `Queue.extend`."""
        return self._ask("extend", [lease, *workers], _nothing)

    def promote(self, limit: int) -> Operation[Promoted]:
        """See `Queue.promote`."""
        return self._ask("promote", [limit], lambda reply: Promoted(*reply))

    def recover(self, limit: int, *, lease: int) -> Operation[list[UUID]]:
        """See `Queue.recover`."""
        return self._ask("recover", [limit, lease, self._policy.max_crashes], _jids)

    def leave(self, worker: str, *, crash: Crash | None = None) -> Operation[list[UUID]]:
        """See `Queue.leave`."""
        how, dossier = (crash.how, msgspec.json.encode(crash)) if crash else ("", b"")
        return self._ask("leave", [worker, self._policy.max_crashes, how, dossier], _jids)

    def prune(self, limit: int) -> Operation[int]:
        """See `Queue.prune`."""
        it = self._policy
        bounds = [it.processed_age, it.processed_count, it.failed_age, it.failed_count]
        return self._ask("prune", [limit, *bounds, it.cancelled_age, it.cancelled_count], int)

    # The calm verbs

    def find(self, jids: Sequence[UUID]) -> Operation[list[Job | None]]:
        """See `Jobs.find`."""
        return self._ask("find", [jid.bytes for jid in jids], lambda reply: [job for *_, job in rows_from(reply)])

    def page(self, query: Query, *, cursor: str | None = None, limit: int = 50) -> Operation[Page]:
        """See `Jobs.page`."""
        form = CURSORS.get(query.state, "[0-9]{1,15}:") + "([0-9a-f]{32})?"
        position, _, last = check_cursor(cursor, form, query.state).partition(":")
        scanned = max(SCANNED, limit) if limit and (query.queue or query.name) else limit

        def read(reply: list[Any]) -> Page:
            more, rows = reply
            jobs: list[Job] = []
            at = ""
            for jid, position, job in rows_from(rows):
                if len(jobs) == limit and job is not None:
                    return Page(jobs, at)
                at = f"{_text(position)}:{jid.hex()}"
                if job is not None and query.name in (None, job.name):
                    jobs.append(job)
            return Page(jobs, at if more else None)

        arguments = [query.state, query.queue or "", scanned, position, bytes.fromhex(last)]
        return self._ask("page", arguments, read)

    def watch(self, jids: Sequence[UUID], waiter: str) -> Operation[list[State | None]]:
        """See `Jobs.watch`."""
        return self._ask("watch", [waiter, *(jid.bytes for jid in jids)], _states)

    def cancel(self, jids: Sequence[UUID], reason: str = "cancelled") -> Operation[list[State | None]]:
        """See `Jobs.cancel`."""
        bound = self._policy.cancelled_count
        return self._ask("cancel", [reason, bound, *(jid.bytes for jid in jids)], _states)

    def retry(self, jids: Sequence[UUID]) -> Operation[list[State | None]]:
        """See `Jobs.retry`."""
        return self._ask("retry", [jid.bytes for jid in jids], _states)

    def remove(self, jids: Sequence[UUID]) -> Operation[list[State | None]]:
        """See `Jobs.remove`."""
        return self._ask("remove", [jid.bytes for jid in jids], _states)

    def queues(self) -> Operation[list[QueueInfo]]:
        """See `Queues.queues`."""

        def read(reply: Any) -> Any:
            return sorted((_queue_info(row) for row in reply), key=lambda info: info.name)

        return self._ask("queues", [], read)

    def pause(self, queues: Sequence[str], reason: str = "", by: str = "") -> Operation[None]:
        """See `Queues.pause`. The author stands behind a tab at the end, where a reason has none."""
        said = f"{reason}\t{by}" if by or "\t" in reason else reason
        return self._ask("pause", [said, *queues], _nothing)

    def resume(self, queues: Sequence[str]) -> Operation[None]:
        """See `Queues.resume`."""
        return self._ask("resume", [*queues], _nothing)

    def peek(self, queue: str, *, limit: int = 1, rear: bool = False) -> Operation[list[Job]]:
        """See `Queues.peek`."""
        return self._ask("peek", [queue, limit, int(rear)], lambda reply: [job for *_, job in rows_from(reply)])

    def purge(self, queue: str, limit: int) -> Operation[int]:
        """See `Queues.purge`."""
        return self._ask("purge", [queue, limit], int)

    def clock(self) -> Operation[int]:
        """See `Watch.clock`."""
        return self._ask("clock", [], int)

    def counts(self) -> Operation[Counts]:
        """See `Watch.counts`."""

        def read(reply: list[Any]) -> Counts:
            pairs = zip(reply[::2], reply[1::2], strict=True)
            numbers = {name.decode(errors="replace"): int(number) for name, number in pairs}
            return Counts(**{name: numbers[name] for name in numbers.keys() & Counts.__struct_fields__})

        return self._ask("counts", [], read)

    def workers(self) -> Operation[list[WorkerInfo]]:
        """See `Watch.workers`."""
        return self._ask("workers", [], lambda reply: [_worker_info(row) for row in reply])

    def flush(self) -> Operation[None]:
        """See `Watch.flush`."""
        return self._ask("flush", [], _nothing)

    def audit(
        self, cursor: str | None = None, *, limit: int = 500, mend: bool = False, lease: int, shelf: str | None = None
    ) -> Operation[Audit]:
        """See `Health.audit`."""
        part, position = split_cursor(cursor or (shelf and "stranded"))
        arguments = [part, position.encode(errors="surrogateescape"), limit, int(mend), lease, shelf or ""]
        return self._ask("audit", arguments, lambda reply: audit_from(reply, part))

    def inspect(self) -> Operation[Inspection]:
        """See `Health.inspect`."""
        return self._ask("inspect", [], inspection_from)


def open(  # noqa: A001
    url: str,
    *,
    namespace: str,
    policy: Policy,
    now: Callable[[], int] | None = None,
    credentials: Login | None = None,
) -> RedisDatabase:
    """See `procession.database.open`."""
    return RedisDatabase(url, namespace=namespace, policy=policy, now=now, credentials=credentials)


def _nothing(_reply: Any) -> None:
    return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _jids(reply: list[bytes]) -> list[UUID]:
    return [UUID(bytes=jid) for jid in reply]


def _states(reply: list[bytes]) -> list[State | None]:
    return [State(name.decode()) if name else None for name in reply]


def _queue_info(row: list[Any]) -> QueueInfo:
    name, queued, paused, oldest = row
    since, _, said = (paused or b"").decode().partition(" ")
    reason, tab, by = said.rpartition("\t")
    return QueueInfo(
        name=name.decode(),
        queued=queued,
        paused=paused is not None,
        reason=reason if tab else said,
        paused_by=by if tab else "",
        paused_at=int(since or 0),
        oldest=oldest,
    )


def _worker_info(row: list[Any]) -> WorkerInfo:
    name, lease_until, info, held = row
    beat_at, _, described = (info or b"").partition(b" ")
    until = int(float(lease_until))
    fields = {"id": name.decode(), "beat_at": int(beat_at or 0), "lease_until": until, "running": held}
    return described_worker(described, fields)


def _check_sent(argument: object, verb: str) -> None:
    if isinstance(argument, str):
        check_text(argument, verb)
    elif not isinstance(argument, bytes | float):
        raise ConfigError(f"{verb}: {argument!r:.200} is neither a text nor a number, which is all it takes")
