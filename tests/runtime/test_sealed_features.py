"""What stands beside the plain life of a job is sealed with it: unique jobs whose call is replaced, schedules, error
groups, progress and log lines."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import redis

from procession import Encrypted, Limit, Procession, Retry, State, Zlib, constant, current_job
from procession.sealing import CLOSED
from tests.runtime import heavy_sealed
from tests.runtime.working import until, working

OLD, NEW = Encrypted.new_key(), Encrypted.new_key()
SECRET = "secret-4111"
log = logging.getLogger("shop")


@pytest.fixture(params=["memory", "valkey"])
def url(request: pytest.FixtureRequest, namespace: str) -> str:
    return f"memory://{namespace}" if request.param == "memory" else str(request.getfixturevalue("valkey_url"))


@pytest.fixture(autouse=True)
def loggers_let_info_pass(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def shop(url: str, namespace: str, *keys: str, declared: bool = False) -> Any:
    """An app with one job of each kind; without keys it has no chain."""
    codec = [Zlib(threshold=200), Encrypted(keys)] if keys else []
    app: Any = Procession(
        url, namespace=namespace, codec=codec, retry=Retry(attempts=1, backoff=constant(0.01)), heartbeat=0.2
    )
    app.performed = []

    @app.job(name="pay")
    def pay(user: str, card: str = "") -> str:
        current_job().progress(0.5, f"with {card}")
        log.info("card %s", card)
        app.performed.append(card)
        return card

    @app.job(name="refuse")
    def refuse(card: str) -> None:
        raise ValueError(f"no {card} today")

    app.pay, app.refuse = pay, refuse
    if declared:
        app.every("1s", args=["all"], kwargs={"card": SECRET})(pay)
    return app


def hidden(url: str, namespace: str) -> list[str]:
    """Every key of a namespace; none of them holds the secret."""
    store = redis.Redis(unix_socket_path=url.removeprefix("unix://"))
    names = []
    for key in store.scan_iter(f"{{{namespace}:*"):
        assert b"secret" not in store.dump(key), key
        assert "secret" not in str(_read(store, key)), key
        names.append(str(key))
    store.close()
    return names


def _read(store: Any, key: bytes) -> Any:
    match store.type(key):
        case b"hash":
            return store.hgetall(key)
        case b"list":
            return store.lrange(key, 0, -1)
        case b"zset":
            return store.zrange(key, 0, -1)
        case b"set":
            return store.smembers(key)
        case b"stream":
            return store.xrange(key)
    return store.get(key)


def test_no_key_of_the_store_holds_anything_of_all_that(valkey_url: str, namespace: str) -> None:
    app = shop(valkey_url, namespace, NEW, declared=True)
    app.schedules.upsert("yearly", app.pay.bind("us", SECRET), cron="0 0 1 1 *")

    async def main() -> None:
        async with working(app):
            unique: Any = {"unique": True, "conflict": "replace"}
            first = app.pay.using(**unique, delay="1h").enqueue("europe", SECRET)
            again = app.pay.using(**unique).enqueue("europe", SECRET)
            app.pay.using(debounce="1h", unique=["card"]).enqueue("asia", SECRET)
            app.pay.using(unique="of {card}", delay="1h").enqueue("africa", SECRET)
            refused = [app.refuse.enqueue(card) for card in (SECRET, f"{SECRET}7")]
            by_hand = app.handle(app.schedules.run_now("yearly"))
            assert again.jid == first.jid
            for handle in (again, by_hand):
                assert await handle.result_async(20) == SECRET
            for handle in refused:
                await handle.wait_async(20)
            await until(lambda: app.schedules.find("pay") and len(app.schedules.find("pay").runs) >= 2)
            await until(app.errors)
            await until(lambda: any(app.log(run.jid) for run in app.schedules.find("pay").runs))
            names = hidden(valkey_url, namespace)
            for part in (":errors", ":groups", "log:", ":notes", ":results", ":rules", ":schedules"):
                assert any(part in name for name in names), (part, names)

    asyncio.run(main())
    hidden(valkey_url, namespace)


@pytest.mark.parametrize("words", [{"conflict": "replace", "delay": "1h"}, {"debounce": "1h"}])
def test_arguments_that_replace_those_of_a_waiting_job_open_in_its_record(
    url: str, namespace: str, words: dict[str, Any]
) -> None:
    app = shop(url, namespace, NEW)
    asked = app.pay.using(unique=["user"], **words)
    first, second = asked.enqueue("europe", "first"), asked.enqueue("europe", "second")
    assert (second.jid, second.job().args, second.job().unique) == (
        first.jid, {"user": "europe", "card": "second"}, '{"user":"europe"}',
    )  # fmt: skip
    stranger = shop(url, namespace)
    assert list(stranger.find_job(first.jid).args) == ["$sealed"]
    assert "europe" not in stranger.find_job(first.jid).unique

    async def main() -> None:
        async with working(app):
            if "debounce" in words:
                app.pay.using(unique=["user"], debounce=0.01).enqueue("europe", "third")
            else:
                app.pay.using(unique=["user"], conflict="replace").enqueue("europe", "third")
            assert await first.result_async(20) == "third"

    asyncio.run(main())
    stranger.close()


def test_a_replaced_call_of_a_job_under_its_former_name_still_opens(url: str, namespace: str) -> None:
    before: Any = Procession(url, namespace=namespace, codec=[Encrypted([NEW])])
    after: Any = Procession(url, namespace=namespace, codec=[Encrypted([NEW])])

    @before.job(name="old")
    def old(word: str) -> str:
        return word

    @after.job(name="new", aliases=["old"])
    def new(word: str) -> str:
        return word

    handle = old.using(unique=True, conflict="replace").enqueue("word")

    async def main() -> None:
        async with working(after):
            assert await after.handle(handle.jid).result_async(20) == "word"

    asyncio.run(main())
    before.close()


def test_a_schedule_declared_again_with_other_nonces_stays_as_it_is_and_its_runs_open(
    url: str, namespace: str
) -> None:
    app, other = (shop(url, namespace, NEW, declared=True) for _ in range(2))

    async def main() -> None:
        async with working(app):
            await until(lambda: app.schedules.find("pay"))
            stored = app.ask(app.database.schedules(["pay"])).schedules[0].asked
            async with working(other):
                await until(lambda: len(app.performed + other.performed) > 1)
            assert app.ask(app.database.schedules(["pay"])).schedules[0].asked == stored
            assert b"4111" not in stored
            assert b"4111" in bytes(app.schedules.find("pay").schedule.args)

    asyncio.run(main())
    assert set(app.performed + other.performed) == {SECRET}


def test_the_same_schedule_asked_for_twice_changes_nothing_and_other_arguments_do(url: str, namespace: str) -> None:
    app = shop(url, namespace, NEW)
    asked = {"cron": "0 0 1 1 *"}
    answers = [app.schedules.upsert("yearly", app.pay.bind("us", card), **asked) for card in ("a", "a", "b")]
    assert answers == [True, False, True]
    app.schedules.remove("yearly")
    app.close()


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["plain", "sealed"])
def test_other_arguments_of_a_schedule_bring_their_own_limit(url: str, namespace: str, keys: tuple[str, ...]) -> None:
    app = shop(url, namespace, *keys)

    @app.job(name="sync", limit=Limit(1, by="account"))
    def sync(account: str) -> None: ...

    given = {"own": sync.bind(SECRET), "given": sync.using(limit=Limit(1, name="nightly")).bind(SECRET)}
    for name, call in given.items():
        app.schedules.upsert(name, call, cron="0 0 1 1 *")
        assert app.schedules.edit(name, args=["ada"])
        assert not app.schedules.edit(name, args=["ada"])
    jobs = {name: app.find_job(app.schedules.run_now(name)) for name in given}
    assert {name: (job.args, job.limit) for name, job in jobs.items()} == {
        "own": ({"account": "ada"}, "sync/ada"),
        "given": ({"account": "ada"}, "nightly"),
    }
    assert sync.enqueue("ada").job().state is State.BLOCKED
    for name in given:
        app.schedules.remove(name)
    app.close()


def test_whoever_has_no_key_fires_no_run_that_nobody_could_open(url: str, namespace: str) -> None:
    app = shop(url, namespace, NEW)
    app.schedules.upsert("yearly", app.pay.bind("us", SECRET), cron="0 0 1 1 *")
    for keys in ((), (OLD,)):
        other = shop(url, namespace, *keys)
        with pytest.raises(ValueError, match="schedule 'yearly'"):
            other.schedules.run_now("yearly")
        assert b"$sealed" in bytes(other.schedules.find("yearly").schedule.args)
        assert other.schedules.edit("yearly", cron=f"0 0 {2 + len(keys)} 1 *")
        other.close()
    assert SECRET.encode() in bytes(app.schedules.find("yearly").schedule.args)
    app.schedules.remove("yearly")
    app.close()


def test_an_error_group_keeps_class_and_place_and_says_nothing(url: str, namespace: str) -> None:
    app = shop(url, namespace, NEW)

    async def main() -> None:
        async with working(app):
            for card in ("4111", "4112"):
                await app.refuse.enqueue(card).wait_async(20)
            found = await until(lambda: (it := app.errors()) and it[0].count == 2 and it)
            assert [(it.type, it.message, it.names) for it in found] == [("ValueError", CLOSED, ("refuse",))]
            assert found[0].where.endswith("refuse")

    asyncio.run(main())


def test_progress_and_log_lines_open_with_the_key_and_have_a_placeholder_without(url: str, namespace: str) -> None:
    app = shop(url, namespace, NEW)
    others = [shop(url, namespace), shop(url, namespace, OLD)]

    async def main() -> None:
        async with working(app):
            app.ask(app.database.note([]))  # so that the server knows the script
            handle = app.pay.enqueue("europe", SECRET)
            await handle.wait_async(20)
            assert handle.job().state is State.PROCESSED
            assert handle.job().progress.text == f"with {SECRET}"
            assert [(it.text, it.logger) for it in app.log(handle.jid)] == [(f"card {SECRET}", "shop")]
            assert [it.text for it in await app.log_async(handle.jid, attempt=1)] == [f"card {SECRET}"]
            for other in others:
                job = other.find_job(handle.jid)
                assert (job.progress.part, job.progress.text) == (0.5, CLOSED)
                assert [(it.level, it.text) for it in other.log(handle.jid)] == [("INFO", CLOSED)]
                other.close()

    asyncio.run(main())


def test_all_that_holds_for_jobs_in_processes_of_their_own() -> None:
    app = heavy_sealed.app

    async def main() -> None:
        async with working(app):
            asked = heavy_sealed.pay.using(unique=["user"], conflict="replace", delay="1h")
            first = asked.enqueue("europe", "another")
            handle = heavy_sealed.pay.using(unique=["user"], conflict="replace").enqueue("europe", SECRET)
            assert handle.jid == first.jid
            assert await handle.result_async(40) == SECRET
            for card in (SECRET, f"{SECRET}7"):
                await heavy_sealed.pay.enqueue("us", card, refuse=True).wait_async(40)
            found = await until(lambda: (it := app.errors()) and it[0].count == 2 and it)
            assert [(it.type, it.message) for it in found] == [("ValueError", CLOSED)]
            stored = app.ask(app.database.log(handle.jid, 0))
            assert [it.text for it in app.log(handle.jid)] == [f"card {SECRET}"]
            assert "secret" not in str(stored)
            assert handle.job().progress.text == f"with {SECRET}"  # type: ignore[union-attr]
            fallen = heavy_sealed.fall.enqueue(SECRET)
            assert await fallen.result_async(40) == "stood"
            assert any(SECRET in line for line in fallen.job().failures[0].crash.log)  # type: ignore[union-attr]
            assert SECRET not in repr(app.ask(app.database.find([fallen.jid])))

    asyncio.run(main())
    app.flush(confirm="sealed")
    app.close()
