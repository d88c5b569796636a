"""Jobs beside transactions of SQLAlchemy: after the commit, and by the outbox; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.schema import CreateTable

from procession import ConfigError, CurrentJob, EnqueueError, Limit, Middleware, Procession, State, Unavailable
from procession.errors import StoreRefused
from procession.integrations.sqlalchemy import AfterCommit, Outbox
from tests.process.family import until
from tests.web.conftest import perform

pytestmark = pytest.mark.xdist_group("postgres")  # one server of it is enough
PAGE = Path(__file__).parents[2] / "docs" / "sqlalchemy.md"
METADATA = MetaData()
ORDERS = Table("orders", METADATA, Column("id", Integer, primary_key=True), Column("item", String(50)))


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    engine = create_engine(address)
    METADATA.create_all(engine)
    yield engine
    METADATA.drop_all(engine)
    engine.dispose()


@pytest.fixture
def app(valkey_url: str, namespace: str) -> Iterator[Procession]:
    app = Procession(valkey_url, namespace=namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


@pytest.fixture
def send(app: Procession) -> Any:
    @app.job(name="send", queue="mail")
    def send(to: str) -> None: ...

    return send


@pytest.fixture
def outbox(app: Procession, engine: Engine) -> Iterator[Outbox]:
    outbox = Outbox(app, MetaData())
    outbox.table.create(engine)
    yield outbox
    outbox.table.drop(engine)


def recipients(app: Procession) -> list[str]:
    """Whom the queued jobs are for, the first of the queue first; they are taken out of it."""
    found = []
    while (job := app.peek("mail")) is not None:
        found.append(job.args["to"])
        app.remove(job.jid)
    return found


def rows(engine: Engine, outbox: Outbox) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(outbox.table)) or 0


def asynchronous(address: str) -> AsyncEngine:
    return create_async_engine(address.replace("sqlite:", "sqlite+aiosqlite:"))


@asynccontextmanager
async def closing(app: Procession, engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    try:
        yield engine
    finally:
        await app.close_async()
        await engine.dispose()


# After the commit


def test_a_call_is_enqueued_when_its_session_commits_and_not_before(engine: Engine, app: Procession, send: Any) -> None:
    after = AfterCommit(app)
    with Session(engine) as session:
        session.execute(insert(ORDERS).values(item="book"))
        handle = after.enqueue(session, send.bind("ada"))
        assert app.find_job(handle.jid) is None
        session.commit()
        assert handle.job().args == {"to": "ada"}
        session.commit()
        after.enqueue_many(session, [send.bind("bob"), send.bind("eve")])
        session.commit()
    assert recipients(app) == ["ada", "bob", "eve"]


def test_what_is_rolled_back_is_forgotten_savepoints_included(engine: Engine, app: Procession, send: Any) -> None:
    after = AfterCommit(app)
    with Session(engine) as session:
        after.enqueue(session, send.bind("nobody"))
        session.rollback()
        after.enqueue(session, send.bind("outer"))
        with session.begin_nested():
            after.enqueue(session, send.bind("released"))
        savepoint = session.begin_nested()
        after.enqueue(session, send.bind("undone"))
        with session.begin_nested():
            after.enqueue(session, send.bind("undone with it"))
        savepoint.rollback()
        assert recipients(app) == []
        session.commit()
        after.enqueue(session, send.bind("closed"))
        session.close()
    assert recipients(app) == ["outer", "released"]


def test_a_store_that_is_away_is_told_by_the_commit_which_is_done(engine: Engine, namespace: str) -> None:
    app = Procession("redis://127.0.0.1:1", namespace=namespace, budget=0.2)

    @app.job(name="send")
    def send(to: str) -> None: ...

    with Session(engine) as session:
        session.execute(insert(ORDERS).values(item="book"))
        AfterCommit(app).enqueue(session, send.bind("ada"))
        with pytest.raises(EnqueueError) as error:
            session.commit()
        assert error.value.stored == "no"
        assert session.scalar(select(func.count()).select_from(ORDERS)) == 1
        session.commit()


def test_an_async_session_enqueues_after_its_commit(address: str, engine: Engine, app: Procession, send: Any) -> None:
    async def main() -> None:
        async with closing(app, asynchronous(address)) as on, AsyncSession(on) as session:
            after = AfterCommit(app)
            after.enqueue(session, send.bind("nobody"))
            await session.rollback()
            async with session.begin():
                handle = after.enqueue(session, send.bind("ada"))
                await session.execute(insert(ORDERS).values(item="book"))
                assert await app.find_job_async(handle.jid) is None
            assert (await handle.job_async()).args == {"to": "ada"}

    asyncio.run(main())
    assert recipients(app) == ["ada"]


def test_scoped_sessions_will_do_in_either_way(engine: Engine, app: Procession, outbox: Outbox, send: Any) -> None:
    session = scoped_session(sessionmaker(engine))
    AfterCommit(app).enqueue(session, send.bind("ada"))
    outbox.enqueue(session, send.bind("bob"))
    session.commit()
    session.remove()
    assert outbox.relay(engine) == 1
    assert recipients(app) == ["ada", "bob"]


# The outbox


def test_rows_are_written_in_the_user_s_transaction_and_moved_in_order(
    engine: Engine, app: Procession, outbox: Outbox, send: Any
) -> None:
    with Session(engine) as session:
        outbox.enqueue(session, send.bind("nobody"))
        session.rollback()
        session.execute(insert(ORDERS).values(item="book"))
        first = outbox.enqueue(session, send.bind("ada"))
        outbox.enqueue_many(session, [send.bind(f"number {n}") for n in range(5)])
        session.commit()
    assert (rows(engine, outbox), app.stats().queued) == (6, 0)
    assert outbox.relay(engine, limit=4) == 4
    assert first.job().state is State.QUEUED
    assert recipients(app) == ["ada", "number 0", "number 1", "number 2"]
    assert [outbox.relay(engine), outbox.relay(engine)] == [2, 0]
    assert rows(engine, outbox) == 0
    assert recipients(app) == ["number 3", "number 4"]


def test_what_was_asked_for_reaches_the_store_as_from_any_enqueue(
    engine: Engine, app: Procession, outbox: Outbox, send: Any
) -> None:
    asked = send.using(priority=5, queue="urgent", tags=["t"], unique="ada", headers={"trace": "1"}, attempts=2)
    with Session(engine) as session:
        handle = outbox.enqueue(session, asked.bind("ada"))
        again = outbox.enqueue(session, asked.bind("ada"))
        later = outbox.enqueue(session, send.using(delay="1h", expires="2h").bind("bob"))
        session.commit()
    outbox.relay(engine)
    job, delayed = handle.job(), later.job()
    assert (job.priority, job.queue, job.tags, job.unique, job.attempts) == (5, "urgent", ("t",), "ada", 2)
    assert app.find_job(again.jid) is None
    assert delayed.state is State.DELAYED
    written = later.jid.int >> 80
    assert abs(delayed.due_at - written - 3_600_000) < 5_000
    assert abs(delayed.expires_at - written - 7_200_000) < 5_000


def test_an_async_session_writes_rows_and_an_async_engine_relays_them(
    address: str, engine: Engine, app: Procession, outbox: Outbox, send: Any
) -> None:
    async def main() -> None:
        async with closing(app, asynchronous(address)) as on:
            async with AsyncSession(on) as session, session.begin():
                handle = outbox.enqueue(session, send.bind("ada"))
            assert await outbox.relay_async(on) == 1
            assert (await handle.job_async()).args == {"to": "ada"}
            async with outbox.relaying_async(on, every=0.01):
                async with AsyncSession(on) as session, session.begin():
                    handle = outbox.enqueue(session, send.bind("bob"))
                while await app.find_job_async(handle.jid) is None:
                    await asyncio.sleep(0.01)

    asyncio.run(main())
    assert rows(engine, outbox) == 0


KILLED = """
import os, signal, sys
from sqlalchemy import MetaData, create_engine, event
from procession import Procession
from procession.integrations.sqlalchemy import Outbox
app = Procession(sys.argv[1], namespace=sys.argv[2])
engine = create_engine(sys.argv[3])

@event.listens_for(engine, "before_cursor_execute")
def between(connection, cursor, statement, *rest):
    if statement.startswith("DELETE"):
        os.kill(os.getpid(), signal.SIGKILL)

Outbox(app, MetaData()).relay(engine)
"""


def test_a_relay_killed_between_enqueue_and_delete_leaves_one_job(
    engine: Engine, address: str, app: Procession, outbox: Outbox, send: Any
) -> None:
    with Session(engine) as session:
        handles = outbox.enqueue_many(session, [send.bind(f"number {n}") for n in range(3)])
        session.commit()
    command = [sys.executable, "-c", KILLED, app.settings.url, app.settings.namespace, address]
    assert subprocess.run(command, timeout=50, check=False).returncode == -signal.SIGKILL
    assert (app.stats().queued, rows(engine, outbox)) == (3, 3)
    until(lambda: outbox.relay(engine) == 3)  # once the database has noticed that the dead one's transaction is over
    assert rows(engine, outbox) == 0
    assert (app.stats().queued, app.counts().enqueued) == (3, 3)
    assert {handle.job().state for handle in handles} == {State.QUEUED}


def test_a_store_that_is_away_leaves_the_rows_where_they_are(
    engine: Engine, outbox: Outbox, send: Any, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(engine) as session:
        outbox.enqueue(session, send.bind("ada"))
        session.commit()
    away = Outbox(Procession("redis://127.0.0.1:1", namespace=namespace, budget=0.2), MetaData())
    with pytest.raises(Unavailable):
        away.relay(engine)
    with caplog.at_level(logging.WARNING, "procession.outbox"), away.relaying(engine, every=0.01):
        until(lambda: "its rows wait" in caplog.text)
    assert rows(engine, outbox) == 1
    assert outbox.relay(engine) == 1


@pytest.mark.parametrize("way", ["relay", "relay_async"])
def test_a_row_that_the_store_refuses_holds_up_those_behind_it_and_none_before_it(
    address: str, engine: Engine, app: Procession, outbox: Outbox, send: Any, way: str
) -> None:
    async def relay_async() -> None:
        async with closing(app, asynchronous(address)) as on:
            await outbox.relay_async(on)

    with Session(engine) as session:
        outbox.enqueue(session, send.bind("ada"))
        outbox.enqueue(session, send.using(durability="replica").bind("bob"))  # of which the store has none
        outbox.enqueue(session, send.bind("eve"))
        session.commit()
    for _ in range(2):  # ada's row is gone: her job is not to come again once the store has forgotten it
        with pytest.raises(StoreRefused, match="no replica acknowledges"):
            outbox.relay(engine) if way == "relay" else asyncio.run(relay_async())
        assert rows(engine, outbox) == 2
    assert recipients(app) == ["ada"]
    assert app.counts().enqueued == 1


def test_a_relay_says_so_when_another_thing_keeps_it_from_its_work(
    engine: Engine, outbox: Outbox, send: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(engine) as session:
        outbox.enqueue(session, send.using(durability="replica").bind("ada"))
        session.commit()

    def away(*_: Any) -> None:
        raise ConnectionError("the database is away")

    event.listen(engine, "before_cursor_execute", away)
    with outbox.relaying(engine, every=0.01):
        until(lambda: "the database is away" in caplog.text)
        event.remove(engine, "before_cursor_execute", away)
        until(lambda: "no replica acknowledges" in caplog.text)
    assert caplog.text.count("its rows wait") == 2


def test_a_relay_of_a_worker_moves_what_is_committed_while_it_runs(
    engine: Engine, app: Procession, outbox: Outbox, send: Any
) -> None:
    with outbox.relaying(engine, every=0.01), Session(engine) as session:
        handle = outbox.enqueue(session, send.bind("ada"))
        session.commit()
        until(lambda: app.find_job(handle.jid) is not None)
    assert not [it for it in threading.enumerate() if it.name == "procession-relay"]


def test_a_limit_holds_for_jobs_of_the_outbox(engine: Engine, app: Procession, outbox: Outbox, send: Any) -> None:
    alone = send.using(limit=Limit(1, by="to"))
    with Session(engine) as session:
        handles = outbox.enqueue_many(session, [alone.bind("ada"), alone.bind("ada"), alone.bind("bob")])
        session.commit()
    assert (outbox.relay(engine), rows(engine, outbox)) == (3, 0)
    assert [handle.job().state for handle in handles] == [State.QUEUED, State.BLOCKED, State.QUEUED]
    assert handles[0].job().limit == "send/ada"


KEY = base64.b64encode(bytes(16)).decode()
NO_JOBS: list[dict[str, Any] | str] = [
    "{", '{"job":{},"durability":"memory","spec":' + 5_000 * "[" + 5_000 * "]" + "}",
    {"queue": "failed"}, {"priority": 999}, {"slot": 5}, {"jid": 1}, {"new": 1}, {"new\0": 1},
    {"delay": -5}, {"delay": 10**15}, {"delay": 10**30}, {"at": 2**48}, {"deadline": -1}, {"deadline": 2**50},
    {"expires_in": -3}, {"expires_in": 2**50}, {"expires_at": -1}, {"expires_at": 2**50},
    {"unique": {"key": "AAA="}}, {"unique": {"key": KEY, "window": -1}}, {"unique": {"key": KEY, "at_most": 2**60}},
    {"slot": {"limit": "AAA=", "most": 1}}, {"slot": {"limit": KEY, "most": 0}},
    {"slot": {"limit": KEY, "most": 2**40}},
]  # fmt: skip
"""What may stand in a row: another text in its place, or other fields."""


@pytest.mark.parametrize("change", NO_JOBS, ids=lambda change: str(change)[:50])
def test_a_row_that_is_no_job_is_set_aside_and_holds_nothing_up(
    engine: Engine, app: Procession, outbox: Outbox, send: Any, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    with Session(engine) as session:
        outbox.enqueue_many(session, [send.bind("zoe"), send.bind("bob")])
        session.flush()
        its = outbox.table.c.job  # with its jid, in whose digits there is no such name
        document = json.loads(session.scalars(select(its).where(its.contains("zoe"))).one())
        written = change if isinstance(change, str) else json.dumps(document | {"job": document["job"] | change})
        session.execute(update(outbox.table).where(its.contains("zoe")).values(job=written))
        session.commit()
    assert [outbox.relay(engine), outbox.relay(engine)] == [2, 0]
    assert recipients(app) == ["bob"]
    assert "is no job and stays" in caplog.text
    assert rows(engine, outbox) == 1


def test_the_longest_and_the_earliest_that_can_be_asked_for_are_no_nonsense(
    engine: Engine, app: Procession, outbox: Outbox, send: Any
) -> None:
    asked = [
        send.using(delay=timedelta(days=3_660), deadline=timedelta(days=3_660), expires=timedelta(days=3_660)),
        send.using(at=datetime.max.replace(tzinfo=UTC), expires=datetime.max.replace(tzinfo=UTC)),
        send.using(at=datetime.min.replace(tzinfo=UTC), expires=datetime.min.replace(tzinfo=UTC)),
        send.using(unique="ada", unique_for=timedelta(days=3_660), limit=Limit(1_000_000)),
        send.using(unique="bob", debounce=timedelta(days=3_660), at_most=timedelta(days=3_660)),
    ]
    with Session(engine) as session:
        outbox.enqueue_many(session, [one.bind("ada") for one in asked])
        session.commit()
    assert (outbox.relay(engine), rows(engine, outbox)) == (5, 0)
    assert app.counts().enqueued == 5


def test_the_size_of_a_step_is_bounded(engine: Engine, outbox: Outbox) -> None:
    with pytest.raises(ConfigError, match="between 1 and 1,000"):
        outbox.relay(engine, limit=1_001)


def test_layers_stand_around_the_writing(engine: Engine, app: Procession, outbox: Outbox, send: Any) -> None:
    class Tagged(Middleware):
        def enqueue(self, call: Any) -> Any:
            yield type(call)(call.registered, call.arguments, {**call.options, "tags": ["layer"]})

        def perform(self, job: CurrentJob) -> Any:
            return (yield)

    app.use(Tagged())
    with Session(engine) as session:
        handle = outbox.enqueue(session, send.bind("ada"))
        session.commit()
    outbox.relay(engine)
    assert handle.job().tags == ("layer",)


@pytest.mark.parametrize("address", ["postgres"], indirect=True)
def test_relays_share_the_rows_without_waiting_for_each_other(
    engine: Engine, app: Procession, outbox: Outbox, send: Any
) -> None:
    with Session(engine) as session:
        outbox.enqueue_many(session, [send.bind(f"number {n}") for n in range(5)])
        session.commit()
    with engine.connect() as other:
        locked = other.execute(select(outbox.table.c.id).order_by(outbox.table.c.id).limit(2).with_for_update())
        assert len(locked.all()) == 2
        assert outbox.relay(engine) == 3
    assert outbox.relay(engine) == 2
    assert app.counts().enqueued == 5


def test_the_page_shows_the_table_as_it_is() -> None:
    table = Outbox(Procession("memory://ddl")).table
    made = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    [shown] = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert made.split() == shown.split()
    assert "job MEDIUMTEXT" in str(CreateTable(table).compile(dialect=mysql.dialect()))  # type: ignore[no-untyped-call]


def test_the_example_of_the_page_runs(
    valkey_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    monkeypatch.setenv("PROCESSION_NAMESPACE", namespace)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    shop: dict[str, Any] = {"__name__": "shop"}
    exec(code.replace("sqlite:///shop.db", f"sqlite:///{tmp_path}/shop.db"), shop)
    app = shop["app"]
    jid = shop["buy"]("ada")
    until(lambda: perform(app) or app.find_job(jid) is not None)  # a worker's lifespan relays
    until(lambda: perform(app) or app.stats().processed == 2)
    assert app.handle(jid).result(timeout=5) == "sent to ada"
    shop["engine"].dispose()
    app.flush(confirm=namespace)
    app.close()


def test_two_outboxes_of_one_app_have_a_table_each(engine: Engine, app: Procession, send: Any) -> None:
    metadata = MetaData()
    boxes = [Outbox(app, metadata, name=f"box_{uuid4().hex[:8]}") for _ in range(2)]
    metadata.create_all(engine)
    try:
        with Session(engine) as session:
            boxes[0].enqueue(session, send.bind("ada"))
            session.commit()
        assert [box.relay(engine) for box in boxes] == [1, 0]
    finally:
        metadata.drop_all(engine)


def test_what_a_job_returned_that_was_called_itself_is_no_call(
    app: Procession, send: Any, engine: Engine, outbox: Outbox
) -> None:
    with Session(engine) as session:
        for ways in (AfterCommit(app), outbox):
            with pytest.raises(ConfigError, match=r"None is no bound call: write job.bind"):
                ways.enqueue(session, send("ada"))
        session.commit()
    assert rows(engine, outbox) == 0
    assert recipients(app) == []
