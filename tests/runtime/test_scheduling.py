"""Queue workers and schedules: what stands in code is stored, fired and performed; what is made at run time, too."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from procession import BadArguments, ConfigError, Limit, Procession, UnknownSchedule, Worker
from procession.clock import wall
from procession.runtime.outage import Patient
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.scheduling import LIMIT, Scheduler
from procession.schedule import Planned, ScheduleInfo, planned
from procession.schedules import edited, scheduled
from tests.runtime.working import working


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Procession:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    return Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=0.3)


def test_what_stands_in_code_is_stored_fired_and_performed(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    performed: list[str] = []

    @app.every("1s", args=["tick"])
    @app.job(name="noted")
    def noted(what: str) -> None:
        performed.append(what)

    @app.every("1s")
    @app.worker(name="Noting")
    class Noting(Worker):
        async def perform(self) -> None:
            performed.append("class")

    @app.cron("* * * * * *", name="plain", kwargs={"what": "cron"})
    def plain(what: str) -> None:
        performed.append(what)

    async def main() -> None:
        async with working(app), working(app):
            while not {"tick", "class", "cron"} <= set(performed):
                await asyncio.sleep(0.01)

    asyncio.run(main())
    found = {info.name: info for info in app.schedules.list()}
    assert found.keys() == {"noted", "Noting", "plain"}
    runs = found["noted"].runs
    assert len({run.at for run in runs}) == len(runs) >= 1
    assert found["noted"].declared_at
    fired = {datetime.fromtimestamp(run.at / 1_000, UTC) for run in runs}
    told = re.findall(r"schedule noted is due: job \S+ for (.+)", caplog.text)
    assert fired <= {datetime.fromisoformat(it) for it in told}  # an instant that a person can read
    assert plain(what="here") is None  # type: ignore[func-returns-value]
    app.flush(confirm=app.settings.namespace)
    app.close()


def test_what_stands_in_code_is_stored_again_in_a_store_that_came_back_empty(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("LOOK", "DECLARE"):
        monkeypatch.setattr(f"procession.runtime.scheduling.{bound}", 0.1)

    @app.every("1s")
    @app.job(name="noted")
    def noted() -> None: ...

    @app.every("1s")
    @app.job(name="removed")
    def removed() -> None: ...

    async def there() -> dict[str, int]:
        return {info.name: info.declared_at for info in await app.schedules.list_async()}

    async def main() -> None:
        async with working(app):
            while len(await there()) < 2:
                await asyncio.sleep(0.01)
            await app.schedules.remove_async("removed")
            since = (await there())["noted"]
            while (await there())["noted"] == since:  # declared once more, and what was removed stays so
                await asyncio.sleep(0.01)
            assert (await there()).keys() == {"noted"}
            await app.flush_async(confirm=app.settings.namespace)
            while (await there()).keys() != {"noted", "removed"} or not (await app.stats_async()).processed:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 20))
    app.flush(confirm=app.settings.namespace)


def test_schedules_are_made_steered_and_removed_at_run_time(app: Procession) -> None:
    @app.job(name="report", queue="reports")
    def report(region: str, /) -> str:
        return region

    async def main() -> None:
        schedules = app.schedules
        asked = {"cron": "0 9 * * MON", "tz": "America/New_York", "missed": "skip"}
        assert await schedules.upsert_async("weekly", report.using(priority=3).bind("us"), **asked)
        assert not schedules.upsert("weekly", report.using(priority=3).bind("us"), **asked)
        info = await schedules.find_async("weekly")
        assert info is not None
        assert (info.schedule.queue, info.schedule.priority, bytes(info.schedule.args)) == (
            "reports", 3, b'{"region":"us"}',
        )  # fmt: skip
        assert info.next_at > wall()
        await schedules.pause_async("weekly", "holiday")
        assert schedules.list()[0].reason == "holiday"
        await schedules.resume_async("weekly")
        job = app.find_job(await schedules.run_now_async("weekly"))
        assert job is not None
        assert (job.name, job.args, job.queue) == ("report", {"region": "us"}, "reports")
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        filled = await schedules.backfill_async("weekly", begin, begin + timedelta(days=30))
        assert filled == schedules.backfill("weekly", begin, begin + timedelta(days=30))
        assert app.stats().scheduled == 1 + len(filled) == 5
        assert await schedules.remove_async("weekly")
        assert not schedules.remove("weekly")
        assert schedules.find("weekly") is None
        with pytest.raises(UnknownSchedule, match="no schedule 'weekly'"):
            schedules.pause("weekly")
        await app.flush_async(confirm=app.settings.namespace)
        await app.close_async()

    asyncio.run(main())
    app.close()


def test_a_schedule_is_made_by_a_bare_name_with_arguments_and_edited_in_part(app: Procession) -> None:
    @app.job(name="report", queue="reports", deadline="1h")
    def report(region: str, copies: int = 1) -> None: ...

    schedules = app.schedules

    def asked() -> Any:
        info = schedules.find("s")
        assert info is not None
        return info.schedule

    assert schedules.upsert("s", "report", args=["us"], kwargs={"copies": 2}, cron="0 9 * * *", tz="Asia/Tokyo")
    assert bytes(asked().args) == b'{"region":"us","copies":2}'
    assert asked().deadline == 3_600_000
    assert schedules.edit("s", every="1h", jitter="5s", priority=7)
    assert not schedules.edit("s", priority=7)
    assert (asked().cron, asked().every, asked().tz, asked().queue) == ("", 3_600_000, "Asia/Tokyo", "reports")
    assert (asked().jitter, asked().priority, bytes(asked().args)) == (5_000, 7, b'{"region":"us","copies":2}')
    assert schedules.edit("s", kwargs={"region": "eu"}, cron="@daily")
    assert (asked().cron, asked().every, bytes(asked().args)) == ("@daily", 0, b'{"region":"eu"}')
    with pytest.raises(BadArguments, match="region"):
        schedules.upsert("s", "report", every=5)
    with pytest.raises(BadArguments, match="argument"):
        schedules.edit("s", kwargs={"regoin": "eu"})
    for says, edit in {
        "has its arguments": lambda: schedules.upsert("s", report.bind("eu"), args=["us"], every=5),
        "no job of this app is named 'other'": lambda: schedules.upsert("s", "other", every=5),
        "Bad hour": lambda: schedules.edit("s", cron="0 25 * * *"),
        "cannot change 'job'; it can change tz": lambda: schedules.edit("s", job="other"),
        "queue name 'a b'": lambda: schedules.edit("s", queue="a b"),
        "priority": lambda: schedules.edit("s", priority=101),
    }.items():
        with pytest.raises(ConfigError, match=says):
            edit()
    with pytest.raises(UnknownSchedule):
        schedules.edit("t", every=5)
    app.flush(confirm=app.settings.namespace)
    app.close()


def test_an_edit_takes_no_schedule_out_of_the_code(app: Procession) -> None:
    @app.job(name="tidy")
    def tidy() -> None: ...

    def info() -> ScheduleInfo:
        found = app.schedules.find("s")
        assert found is not None
        return found

    stands = scheduled("s", tidy.bind(), every="1h")
    app.ask(app.database.upsert_schedules([planned(stands, 0)], declared=True))
    declared = info().declared_at
    assert declared
    assert app.schedules.edit("s", every="2h")
    assert app.schedules.save(msgspec.structs.replace(info().schedule, priority=7))
    assert (info().schedule.every, info().schedule.priority, info().declared_at) == (7_200_000, 7, declared)
    assert app.schedules.upsert("s", tidy, every="3h")
    assert info().declared_at == 0
    app.flush(confirm=app.settings.namespace)
    app.close()


def test_a_run_is_asked_for_with_the_options_of_the_call_that_is_scheduled(app: Procession) -> None:
    @app.job(name="sync", tags=["old"])
    def sync() -> None: ...

    headers = {"tenant": "acme"}
    asked = sync.using(headers=headers, tags=["t"], attempts=2, timeout="5s", priority=3, queue="slow", limit=Limit(7))
    app.schedules.upsert("s", asked.bind(), every="1h")
    job = app.find_job(app.schedules.run_now("s"))
    assert job is not None
    assert (job.headers, job.tags, job.attempts, job.timeout) == (headers, ("t",), 2, 5_000)
    assert (job.priority, job.queue, job.limit) == (3, "slow", "sync")
    with pytest.raises(ConfigError, match="at most 16 headers"):
        app.schedules.upsert("s", sync.using(headers={"x": "y" * 5_000}).bind(), every="1h")
    app.flush(confirm=app.settings.namespace)
    app.close()


def test_a_schedule_made_while_workers_run_is_noticed(app: Procession) -> None:
    done: list[int] = []

    @app.job(name="count")
    def count() -> None:
        done.append(1)

    async def main() -> None:
        async with working(app):
            await app.schedules.upsert_async("soon", "count", every="1s")
            while not done:
                await asyncio.sleep(0.01)

    asyncio.run(main())
    app.flush(confirm=app.settings.namespace)
    app.close()


class Slow(Scheduler):
    """One whose first look comes later than all else of its worker."""

    async def look(self, patient: Patient) -> float:
        await asyncio.sleep(0.1)
        return await super().look(patient)


def test_a_burst_performs_what_schedules_have_due_as_it_begins(app: Procession) -> None:
    performed = asyncio.Event()

    @app.job(name="tick")
    async def tick() -> None:
        performed.set()

    app.schedules.upsert("tick", tick, every="1s")
    while not app.ask(app.database.due_schedules(1)).schedules:
        time.sleep(0.01)

    async def main() -> None:
        await QueueWorker(app, burst=True, schedules=Slow.of(app)).run()
        await app.close_async()

    asyncio.run(main())
    assert performed.is_set()
    app.flush(confirm=app.settings.namespace)
    app.close()


def test_schedules_that_a_worker_cannot_read_hide_no_other_from_it(
    app: Procession, caplog: pytest.LogCaptureFixture
) -> None:
    performed = asyncio.Event()

    @app.job(name="tick")
    async def tick() -> None:
        performed.set()

    strange = [Planned(f"strange {number}", b"of another version", 1) for number in range(2 * LIMIT + 1)]
    app.connection().ask(app.database.upsert_schedules(strange))
    app.schedules.upsert("tick", tick, every="1s")

    async def main() -> None:
        async with working(app):
            await asyncio.wait_for(performed.wait(), 10)

    asyncio.run(main())
    assert caplog.text.count("left to other workers") == len(strange)
    app.flush(confirm=app.settings.namespace)


def test_a_schedule_that_cannot_be_kept_is_refused_where_it_is_written() -> None:
    app = Procession("memory://refused")

    @app.job(name="f")
    def f(n: int = 1) -> None: ...

    for says, asked in {
        "Bad hour": {"cron": "0 25 * * *"},
        "one of them": {},
        "at least a second": {"every": "10ms"},
        "no time zone": {"cron": "@daily", "tz": "Mars"},
        "must be one of skip": {"every": 5, "missed": "never"},
        "which overlap='skip' forbids": {"every": 5, "missed": "all", "overlap": "skip"},
        "unknown option 'zone'": {"every": 5, "zone": "UTC"},
        "tz='Mars' is no time zone": {"every": 5, "tz": "Mars"},
        "dst='bogus' must be one of once": {"every": 5, "dst": "bogus"},
        "got `null` - at `tz`": {"every": 5, "tz": None},
        "overlap=None must be one of allow": {"every": 5, "overlap": None},
        "got `bool` - at `catch_up`": {"every": 5, "catch_up": True},
    }.items():
        with pytest.raises(ConfigError, match=says):
            app.schedules.upsert("f", f, **asked)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=says):
            scheduled("f", f.bind(), **asked)  # type: ignore[arg-type]
    made = scheduled("f", f.bind(), every=5)
    with pytest.raises(ConfigError, match="schedule 'f': Expected `int`, got `bool` - at `v`"):
        app.schedules.save(msgspec.structs.replace(made, v=True))
    with pytest.raises(ConfigError, match="at `catch_up`"):
        edited(made, {"catch_up": True})
    with pytest.raises(ConfigError, match="at `name`"):
        app.schedules.upsert(5, f, every=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="delay= fits one job"):
        app.schedules.upsert("f", f.using(delay=5).bind(), every=5)
    with pytest.raises(ConfigError, match="no job of this app is named 'g'"):
        app.schedules.upsert("g", "g", every=5)
    app.every("5s")(f)
    with pytest.raises(ConfigError, match="two schedules are named 'f'"):
        app.cron("@daily")(f)
