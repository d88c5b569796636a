"""The outbox: the request for a job is a row of the user's own transaction, and a relay moves rows into the store.

A row is enqueued first and deleted then, in one transaction of the relay. If the relay dies in between, the row is
there still and is enqueued again with the same jid, which the store knows: it stays one job. Rows go in the order of
their ids; where the database has `SKIP LOCKED`, several relays share the work, else they repeat each other harmlessly.
The pattern is described at https://microservices.io/patterns/data/transactional-outbox.html.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace
from sqlalchemy import BigInteger, Column, DateTime, Engine, Executable, Integer, MetaData, String, Table, Text, func
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import registry
from sqlalchemy.sql import delete, select, update

from procession.client import Procession
from procession.clock import LONGEST, wall
from procession.database import Durability, Operation
from procession.enqueuer import BATCH, Call, bound, durability_of, new_job
from procession.errors import ConfigError, DatabaseError
from procession.handle import JobHandle
from procession.integrations.sqlalchemy.after_commit import AnySession
from procession.job import NewJob, Stored, new_jid
from procession.limits import MOST_SLOTS, Slot
from procession.middleware import Enqueuing, around_enqueues
from procession.names import check_queue
from procession.registry import check_priority
from procession.unique import Unique

log = logging.getLogger("procession.outbox")

R = TypeVar("R")

LIMIT = 500
"""Most rows that one step of the relay moves."""
EVERY = 1.0
"""Seconds between two looks of a relay that found nothing."""


class Kept(Struct, frozen=True, kw_only=True):
    """What a row holds, as JSON that a person can read."""

    spec: Raw
    job: dict[str, Any]
    """The other fields of the `NewJob`, as far as they are set; its delay is an instant by now, for the relay may be
    late."""
    durability: Durability


Duration = Annotated[int, Meta(ge=0, le=LONGEST)]
Instant = Annotated[int, Meta(le=253_402_300_800_000)]
"""Up to the year 9999, which is as far as a datetime goes."""
Digest = Annotated[bytes, Meta(min_length=16, max_length=16)]


class _Unique(Unique, frozen=True, kw_only=True):
    key: Digest
    window: Duration = 0
    at_most: Duration = 0


class _Slot(Slot, frozen=True, kw_only=True):
    limit: Digest
    most: Annotated[int, Meta(ge=1, le=MOST_SLOTS)]


class _Relayed(NewJob, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """A `NewJob` that knows the types and bounds of all its fields, so that whatever stands in a row is checked."""

    delay: Duration = 0
    at: Instant = 0
    expires_in: Duration = 0
    expires_at: Annotated[Instant, Meta(ge=0)] = 0
    unique: _Unique | None = None
    slot: _Slot | None = None
    deadline: Duration = 0


class Outbox:
    """The outbox of one app in one table.

    Args:
        app: whose jobs; the relay speaks to its store.
        metadata: where the table is put, so that migrations and `create_all` see it.
        name, schema: of the table.
    """

    def __init__(
        self,
        app: Procession,
        metadata: MetaData | None = None,
        *,
        name: str = "procession_outbox",
        schema: str | None = None,
    ) -> None:
        self.app = app
        self.table = Table(
            name,
            metadata if metadata is not None else MetaData(),
            Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
            Column("jid", String(36), nullable=False),
            Column("job", Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
            Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
            Column("error", Text),
            schema=schema,
        )
        self._row: Any = type("OutboxRow", (), {})
        registry(metadata=self.table.metadata).map_imperatively(self._row, self.table)

    # Writing

    def enqueue(self, session: AnySession, call: Call[R]) -> JobHandle[R]:
        """Add the row of this call to the session. It is written with the next flush, and a relay enqueues the job once
        it is committed.

        Raises:
            ConfigError, ReservedQueue: it is no bound call; the queue or an option cannot be used.
        """
        return self.enqueue_many(session, [call])[0]

    def enqueue_many(self, session: AnySession, calls: Iterable[Call[R]]) -> list[JobHandle[R]]:
        """See `enqueue`; their order is kept."""
        with Enqueuing(around_enqueues(self.app.registry.policies.middleware), bound(calls)) as around:
            kept = [_kept(call, self.app.settings.durability) for call in around.calls]
            for jid, document in kept:
                row = self._row()
                row.jid, row.job = str(jid), document
                session.add(row)
            pairs = zip(kept, around.calls, strict=True)
            return around.stored([JobHandle(self.app, jid, call.registered) for (jid, _), call in pairs])

    # Relaying

    def relay(self, engine: Engine, limit: int = LIMIT) -> int:
        """Move up to `limit` rows (at most 1,000) into the store, the oldest first; returns how many rows it took.

        Raises:
            DatabaseError: the store could not be used, or refuses a row; that one and those behind it stay.
            sqlalchemy.exc.SQLAlchemyError: the database could not; what was enqueued already will be again, and stays
                one job.
        """
        with engine.begin() as connection:
            step = _Step(connection.execute(self._oldest(limit)).all())
            with step.as_far_as_it_goes():
                for durability, operation in step.operations(self.app):
                    self.app.connection().ask(operation, durability=durability)
            for statement in step.statements(self.table):
                connection.execute(statement)
        return step.came_to()

    async def relay_async(self, engine: AsyncEngine, limit: int = LIMIT) -> int:
        """See `relay`."""
        async with engine.begin() as connection:
            step = _Step((await connection.execute(self._oldest(limit))).all())
            with step.as_far_as_it_goes():
                for durability, operation in step.operations(self.app):
                    await self.app.connection_async().ask(operation, durability=durability)
            for statement in step.statements(self.table):
                await connection.execute(statement)
        return step.came_to()

    @contextmanager
    def relaying(self, engine: Engine, every: float = EVERY) -> Iterator[None]:
        """Relay in a thread while the block runs, looking each `every` seconds, and at once where there is more. While
        store or database is away it says so once and tries on."""
        over, said = threading.Event(), _Said()

        def run() -> None:
            while not over.is_set():
                with said.what_goes_wrong():
                    if self.relay(engine) == LIMIT:
                        continue
                over.wait(every)

        thread = threading.Thread(target=run, name="procession-relay", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @asynccontextmanager
    async def relaying_async(self, engine: AsyncEngine, every: float = EVERY) -> AsyncIterator[None]:
        """See `relaying`; in a task of the running loop."""
        over, said = asyncio.Event(), _Said()

        async def run() -> None:
            while not over.is_set():
                with said.what_goes_wrong():
                    if await self.relay_async(engine) == LIMIT:
                        continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await over.wait()

        task = asyncio.ensure_future(run())
        try:
            yield
        finally:
            over.set()
            await task

    def _oldest(self, limit: int) -> Executable:
        if not 1 <= limit <= BATCH:
            raise ConfigError(f"limit={limit} must lie between 1 and {BATCH:,}")
        it = self.table.c
        oldest = select(it.id, it.job).where(it.error.is_(None)).order_by(it.id).limit(limit)
        return oldest.with_for_update(skip_locked=True)


class _Step:
    """One step of a relay: what the rows ask of the store, and what then becomes of them. Decides; asks nobody."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._taken = len(rows)
        self._jobs: list[tuple[Durability, int, NewJob]] = []
        self._moved: list[int] = []
        self._broken: list[tuple[int, str]] = []
        self._kept_from: DatabaseError | None = None
        for number, document in rows:
            try:
                durability, job = _decoded(document)
                self._jobs.append((durability, number, job))
            except (ValueError, RecursionError) as error:
                why = str(error).replace("\0", "\\0")  # PostgreSQL keeps no NUL in a text
                log.error("row %d of the outbox is no job and stays where it is: %s", number, why)
                self._broken.append((number, why))

    def operations(self, app: Procession) -> Iterator[tuple[Durability, Operation[list[Stored]]]]:
        """To be asked one by one; each is atomic. Whoever takes the next one has had the answer to that before."""
        for durability, run in groupby(self._jobs, itemgetter(0)):
            alike = [*run]
            yield durability, app.database.enqueue([job for _, _, job in alike])
            self._moved += [number for _, number, _ in alike]

    @contextmanager
    def as_far_as_it_goes(self) -> Iterator[None]:
        """What was stored is moved, also where the store fails behind it: a row that came again with each step would
        be one job only as long as the store knows that."""
        try:
            yield
        except DatabaseError as error:
            self._kept_from = error

    def statements(self, table: Table) -> Iterator[Any]:
        """To be executed when the store has answered."""
        if self._moved:
            yield delete(table).where(table.c.id.in_(self._moved))
        for number, error in self._broken:
            yield update(table).where(table.c.id == number).values(error=error)

    def came_to(self) -> int:
        """How many rows it took, once all this is committed. Raises what kept it from taking them all."""
        if self._kept_from is not None:
            raise self._kept_from
        return self._taken


class _Said:
    """Says once of each thing that keeps a relay from its work."""

    def __init__(self) -> None:
        self._said: set[type[Exception]] = set()

    @contextmanager
    def what_goes_wrong(self) -> Iterator[None]:
        try:
            yield
            self._said.clear()
        except Exception as error:  # not every driver's errors are SQLAlchemy's; a relay goes on whatever happens
            if type(error) not in self._said:
                log.warning("the outbox cannot be relayed, and its rows wait: %s: %s", type(error).__name__, error)
            self._said.add(type(error))


def _kept(call: Call[Any], default: Durability) -> tuple[UUID, str]:
    """The jid and the document of a row."""
    job = new_job(call, new_jid())
    if job.delay and not (call.registered.unique.debounce or call.options.get("debounce")):
        job = replace(job, delay=0, at=wall() + job.delay)
    if job.expires_in:
        job = replace(job, expires_in=0, expires_at=wall() + job.expires_in)
    fields = {name: value for name, value in msgspec.to_builtins(job).items() if value and name != "spec"}
    kept = Kept(spec=Raw(job.spec), job=fields, durability=durability_of(call, default))
    return job.jid, msgspec.json.encode(kept).decode()


def _decoded(document: str) -> tuple[Durability, NewJob]:
    """The reverse. Raises ValueError for what is no job."""
    kept = msgspec.json.decode(document, type=Kept)
    job = msgspec.convert({**kept.job, "spec": bytes(kept.spec)}, _Relayed)
    check_queue(job.queue)
    check_priority(job.priority)
    return kept.durability, job
