"""Jobs through a codec chain, from the call to the result: nothing of theirs is readable in the store, and a worker
without the key loses none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from procession import (
    Discard,
    Encrypted,
    Fail,
    Failure,
    JobFailed,
    Procession,
    Retry,
    Sealed,
    State,
    Zlib,
    constant,
    wait_all,
)
from procession.runtime import executor
from tests.runtime.working import until, working

OLD, NEW = Encrypted.new_key(), Encrypted.new_key()
HEARD: list[Failure] = []


@pytest.fixture(params=["memory", "valkey"])
def url(request: pytest.FixtureRequest, namespace: str) -> str:
    return f"memory://{namespace}" if request.param == "memory" else str(request.getfixturevalue("valkey_url"))


def shop(url: str, namespace: str, *keys: str) -> Any:
    """An app with one job of each kind; without keys it has no chain."""
    codec = [Zlib(threshold=200), Encrypted(keys)] if keys else []
    app: Any = Procession(url, namespace=namespace, codec=codec, retry=Retry(attempts=2, backoff=constant(0.01)))

    def work(card: str, what: str) -> str:
        match what:
            case "error":
                raise ValueError(f"refused {card}")
            case "discard":
                raise Discard(f"not needed {card}")
            case "fail":
                raise Fail(f"never {card}")
        return f"paid with {card}"

    @app.job(name="pay", tags=["money"], on_exhausted=HEARD.append)
    def pay(card: str, what: str = "") -> str:
        return work(card, what)

    @app.job(name="pay_async", queue="async")
    async def pay_async(card: str, what: str = "") -> str:
        return work(card, what)

    app.pay, app.pay_async = pay, pay_async
    return app


@pytest.mark.parametrize("kind", ["pay", "pay_async"])
def test_nothing_of_a_job_is_readable_in_the_store(valkey_url: str, namespace: str, kind: str) -> None:
    app = shop(valkey_url, namespace, NEW)
    job = getattr(app, kind)
    HEARD.clear()

    async def main() -> None:
        async with working(app):
            handles = [
                job.enqueue("secret-4111"),
                job.using(delay=0.01).enqueue("secret-4111"),
                *(job.enqueue("secret-4111", what) for what in ("error", "discard", "fail")),
                job.using(delay="1h").enqueue("secret-4111" * 100),
            ]
            assert await handles[0].result_async(20) == "paid with secret-4111"
            for handle in handles[:5]:
                await handle.wait_async(20)
            failed = await handles[2].job_async()
            assert (failed.error, failed.args["card"]) == ("ValueError: refused secret-4111", "secret-4111")
            with pytest.raises(JobFailed, match="refused secret-4111"):
                await handles[2].result_async(20)
            assert (await handles[3].job_async()).failures[0].message == "not needed secret-4111"
            assert " with ValueError: (sealed) (exhausted). " in (await app.why_async(handles[2].jid)).text

    asyncio.run(main())
    if kind == "pay":
        assert sorted(it.message for it in HEARD) == ["never secret-4111", "refused secret-4111"]
    store = redis.Redis(unix_socket_path=valkey_url.removeprefix("unix://"))
    names = 0
    for key in store.scan_iter(f"{{{namespace}:*"):
        everything = store.dump(key)
        text = str(_read(store, key))
        assert b"4111" not in everything, key
        assert "4111" not in text, key
        names += kind in text
    assert names > 0
    store.close()


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
    return store.get(key)


def test_names_tags_and_times_stay_readable_for_whoever_has_no_key(url: str, namespace: str) -> None:
    app, stranger = shop(url, namespace, NEW), shop(url, namespace)
    handle = app.pay.enqueue("secret")
    found = stranger.find_job(handle.jid)
    assert (found.name, found.tags, found.state, list(found.args)) == ("pay", ("money",), State.QUEUED, ["$sealed"])
    assert found.enqueued_at > 0
    searched = stranger.search(f"queue:default job:pay tag:money since:1h jid:{handle.jid}").jobs
    assert [it.jid for it in searched] == [handle.jid]
    handle.cancel()
    app.close()
    stranger.close()


def test_a_worker_without_the_key_puts_the_job_off_and_one_with_it_performs_it(
    url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "POSTPONED", 500)
    app = shop(url, namespace, NEW)
    handles = [app.pay.enqueue("secret"), app.pay_async.enqueue("secret")]

    async def put_off(other: Any) -> None:
        async with working(other):
            for handle in handles:
                found = await until(lambda handle=handle: (it := handle.job()).state is State.DELAYED and it)
                assert (found.reason, found.failures) == ("sealed with a key that no worker here has", ())
                assert found.attempt - found.crashes <= 1

    async def performed(other: Any) -> None:
        async with working(other):
            assert [await handle.result_async(40) for handle in handles] == ["paid with secret"] * 2
        await app.close_async()

    asyncio.run(put_off(shop(url, namespace, OLD)))
    asyncio.run(performed(shop(url, namespace, NEW, OLD)))
    found = [handle.job() for handle in handles]
    assert [(it.state, it.attempt) for it in found] == [(State.PROCESSED, 1)] * 2
    app.close()


def test_a_worker_without_a_chain_puts_a_sealed_job_off(url: str, namespace: str) -> None:
    app = shop(url, namespace, NEW)
    handle = app.pay.enqueue("secret")

    async def main() -> None:
        async with working(shop(url, namespace)):
            why = await until(lambda: (it := app.why(handle.jid)).kind == "put_off" and it)
        assert "could not perform it (sealed with a key that no worker here has); it is offered again at" in why.text

    asyncio.run(main())
    assert handle.job().failures == ()
    app.close()


def test_a_result_that_cannot_be_opened_is_an_error_that_says_so(url: str, namespace: str) -> None:
    app, stranger = shop(url, namespace, OLD, NEW), shop(url, namespace, NEW)

    async def main() -> None:
        async with working(app):
            handle = await app.pay.enqueue_async("secret")
            await handle.wait_async(20)
            assert wait_all([handle], inside_job=True)[0].args["card"] == "secret"
            for other in (stranger.handle(handle.jid), shop(url, namespace).handle(handle.jid)):
                with pytest.raises(Sealed, match="the result of job"):
                    await other.result_async(20)
                await other.app.close_async()
            assert await app.handle(handle.jid).result_async(20) == "paid with secret"

    asyncio.run(main())


def test_jobs_from_before_the_chain_are_performed_as_they_are(url: str, namespace: str) -> None:
    before, after = shop(url, namespace), shop(url, namespace, NEW)
    handle = before.pay.enqueue("secret")

    async def main() -> None:
        async with working(after):
            assert await after.handle(handle.jid).result_async(20) == "paid with secret"

    asyncio.run(main())
    before.close()
