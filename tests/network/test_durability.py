"""Durability per enqueue: refused before anything is written where it cannot be kept, confirmed where it can, and an
honest "unknown" in between."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from procession import ConfigError, EnqueueError, Procession, Refused
from tests.network.servers import Server, serving, several, until
from tests.network.test_lines import shop

pytestmark = pytest.mark.xdist_group("network-durability")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """It appends to a file, and has no replica."""
    with serving("--appendonly", "yes") as server:
        yield server


@contextmanager
def paired() -> Iterator[tuple[Server, Server]]:
    """A primary without a file, and its replica."""
    primary = Server()
    replica = Server("--replicaof", f"127.0.0.1 {primary.port}")
    with several([primary, replica]):
        primary.start()
        replica.start()
        until(lambda: _acknowledges(primary))
        yield primary, replica


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    with paired() as servers:
        yield servers


def _acknowledges(primary: Server) -> bool:
    with primary.client() as client:
        client.set("ping", "pong")
        return bool(client.wait(1, 100))


@contextmanager
def suspended(server: Server) -> Iterator[None]:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def calls(server: Server, command: str) -> int:
    with server.client() as client:
        return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def both(app: Procession, note: object, n: int) -> list[Refused]:
    """The refusals that a sync and an async producer hear."""
    heard = []
    with pytest.raises(Refused) as caught:
        note.enqueue(n)  # type: ignore[attr-defined]
    heard.append(caught.value)

    async def main() -> None:
        with pytest.raises(Refused) as caught:
            await note.enqueue_async(n)  # type: ignore[attr-defined]
        heard.append(caught.value)
        await app.close_async()

    asyncio.run(main())
    return heard


def test_fsync_returns_when_the_file_is_on_the_disk(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)
    note.enqueue(0)
    before = calls(server, "waitaof")
    assert note.using(durability="fsync").enqueue(1).duplicate is False
    assert calls(server, "waitaof") == before + 2  # once to see that it can, once to wait
    asyncio.run(note.using(durability="fsync").enqueue_async(2))
    assert app.counts().queued == 3
    app.flush(confirm=namespace)
    app.close()


def test_a_store_that_cannot_is_found_out_before_anything_is_written(
    server: Server, pair: tuple[Server, Server], namespace: str
) -> None:
    unable = ((pair[0].url, "fsync", "appendonly is disabled"), (server.url, "replica", "no replica"))
    for url, durability, why in unable:
        app, note = shop(url, namespace)
        for refused in both(app, note.using(durability=durability), 1):
            assert why in str(refused)
            assert refused.stored == "no"
        assert app.counts().enqueued == 0
        note.enqueue(2)  # the line is as good as before
        app.flush(confirm=namespace)
        app.close()


def test_a_server_that_does_not_know_waitaof_refuses(namespace: str) -> None:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on this machine")
    server = Server(binary=binary)
    with several([server]):
        server.start_with("--port", str(server.port), "--appendonly", "yes", "--dir", str(server.folder))
        with server.client() as client:
            if "waitaof" in {it.decode() if isinstance(it, bytes) else it for it in client.command_list()}:
                pytest.skip("this redis-server knows WAITAOF")
        app, note = shop(server.url, namespace)
        for refused in both(app, note.using(durability="fsync"), 1):
            assert "cannot keep durability='fsync'" in str(refused)
        assert app.counts().enqueued == 0
        app.close()


def test_a_durable_enqueue_goes_where_the_primary_is_now(namespace: str) -> None:
    with paired() as (first, second):
        app, note = shop(f"redis://127.0.0.1:{first.port},127.0.0.1:{second.port}/", namespace, durability="replica")
        note.enqueue(0)
        _take_over(second, first)  # nothing closes the line, and its server takes no writes
        assert note.enqueue(1).duplicate is False

        async def main() -> None:
            await note.enqueue_async(2)
            _take_over(first, second)
            assert (await note.enqueue_async(3)).duplicate is False
            await app.close_async()

        asyncio.run(main())
        assert app.counts().enqueued == 4
        app.close()


def _take_over(heir: Server, primary: Server) -> None:
    with heir.client() as here, primary.client() as there:
        here.replicaof("NO", "ONE")
        there.replicaof("127.0.0.1", str(heir.port))
    until(lambda: _acknowledges(heir))


def test_what_a_replica_did_not_confirm_is_unknown_and_stays_so_until_it_does(
    pair: tuple[Server, Server], namespace: str
) -> None:
    primary, replica = pair
    app, note = shop(primary.url, namespace, durability="replica", budget=0.6)
    first = note.enqueue(0)
    assert first.duplicate is False
    with suspended(replica):
        with pytest.raises(EnqueueError, match="has it in memory, and did not confirm") as caught:
            note.enqueue(1)
        assert caught.value.stored == "unknown"
        jid = caught.value.jids[0]
        again = note.using(jid=jid)
        with pytest.raises(EnqueueError) as caught:  # it is there already, and a write that changes nothing is no proof
            again.enqueue(1)
        assert caught.value.stored == "unknown"
        with pytest.raises(EnqueueError):
            asyncio.run(again.enqueue_async(1))
    assert again.enqueue(1).duplicate
    assert app.counts().enqueued == 2
    app.flush(confirm=namespace)
    app.close()


def test_durable_enqueues_of_one_loop_share_a_trip_and_hold_nobody_else_up(
    pair: tuple[Server, Server], namespace: str
) -> None:
    primary, replica = pair
    app, note = shop(primary.url, namespace, budget=1.5)

    async def main() -> None:
        durable = note.using(durability="replica")
        before = calls(primary, "wait")
        handles = await asyncio.gather(*(durable.enqueue_async(n) for n in range(100)))
        assert len({handle.jid for handle in handles}) == 100
        assert calls(primary, "wait") - before <= 2 * 3
        with suspended(replica):
            waiting = [asyncio.ensure_future(durable.enqueue_async(n)) for n in range(5)]
            await asyncio.sleep(0.05)
            since = time.monotonic()
            await asyncio.gather(*(note.enqueue_async(n) for n in range(50)))
            assert time.monotonic() - since < 1.0
            assert not any(it.done() for it in waiting)
            errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(error, "stored", None) for error in errors] == ["unknown"] * 5
        await app.close_async()

    asyncio.run(main())
    assert app.counts().enqueued == 155
    app.flush(confirm=namespace)
    app.close()


def test_many_at_once_keep_their_order_and_each_its_durability(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)
    app.enqueue_many([note.bind(9)])  # the script is in the store from here on: no question goes out twice
    before = calls(server, "waitaof")
    calls_ = [note.using(durability="fsync" if 3 <= n < 6 else "memory").bind(n) for n in range(9)]
    app.enqueue_many(calls_)
    assert calls(server, "waitaof") == before + 2
    assert [job.args["n"] for job in app.jobs("queued", limit=20).jobs] == [9, *range(9)]
    app.flush(confirm=namespace)
    app.close()


def test_the_setting_is_the_default_and_a_call_may_ask_for_less(
    server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCESSION_DURABILITY", "fsync")
    app, note = shop(server.url, namespace)
    note.using(durability="memory").enqueue(0)  # the script is in the store from here on: no question goes out twice
    before = calls(server, "waitaof")
    note.enqueue(1)
    assert calls(server, "waitaof") == before + 2
    note.using(durability="memory").enqueue(2)
    assert calls(server, "waitaof") == before + 2
    app.flush(confirm=namespace)
    app.close()
    monkeypatch.setenv("PROCESSION_DURABILITY", "paper")
    with pytest.raises(ConfigError, match=r"durability=.*environment"):
        Procession(server.url)
    with pytest.raises(ConfigError, match="must be one of memory, fsync, replica"):
        note.using(durability="paper")


def test_the_memory_store_keeps_no_promise_beyond_memory(namespace: str) -> None:
    app, note = shop(f"memory://{namespace}", namespace)
    for refused in both(app, note.using(durability="fsync"), 1):
        assert "cannot keep durability='fsync'" in str(refused)
    assert app.counts().enqueued == 0
    note.enqueue(1)
