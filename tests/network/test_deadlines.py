"""Every call ends within its budget by our own clock: connecting, the name look-up, TLS and the greeting included."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from procession import EnqueueError, ProcessionError
from procession.database.redis import wire
from tests.chaos.proxy import proxied
from tests.network.servers import Server, serving
from tests.network.test_lines import shop

pytestmark = pytest.mark.xdist_group("network-deadlines")

NOISE = 0.5
"""Seconds that a busy machine may add to a figure."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@contextmanager
def black_hole() -> Iterator[str]:
    """A port whose queue of connections is full: it neither accepts nor refuses."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield f"redis://127.0.0.1:{port}"
        finally:
            for filler in fillers:
                filler.close()


@contextmanager
def silent() -> Iterator[str]:
    """A port that accepts, and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def silent_tls() -> Iterator[str]:
    with silent() as url:
        yield url.replace("redis://", "rediss://")


WAYS = [(black_hole, 2.0), (silent, 0.5), (silent_tls, 0.5)]


@pytest.mark.parametrize(("way", "budget"), WAYS)
def test_fifty_threads_before_a_silent_store_each_hear_of_it_within_the_budget(
    way: Callable[[], AbstractContextManager[str]], budget: float, namespace: str
) -> None:
    took: list[float] = []
    with way() as url:
        _, note = shop(url, namespace, budget=budget)

        def one(n: int) -> None:
            since = time.monotonic()
            with pytest.raises(EnqueueError) as caught:
                note.enqueue(n)
            took.append(time.monotonic() - since)
            assert caught.value.stored == "no"

        threads = [threading.Thread(target=one, args=(n,)) for n in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(took) == 50
    assert max(took) <= budget + 0.2 + NOISE


@pytest.mark.parametrize(("way", "budget"), WAYS)
def test_an_event_loop_before_a_silent_store_turns_on(
    way: Callable[[], AbstractContextManager[str]], budget: float, namespace: str
) -> None:
    lags: list[float] = []

    async def ticks() -> None:
        while True:
            since = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - since - 0.01)

    async def one(n: int) -> float:
        since = time.monotonic()
        with pytest.raises(EnqueueError) as caught:
            await note.enqueue_async(n)
        assert caught.value.stored == "no"
        return time.monotonic() - since

    async def main() -> list[float]:
        ticking = asyncio.ensure_future(ticks())
        await asyncio.sleep(0.05)
        try:
            return await asyncio.gather(*(one(n) for n in range(50)))
        finally:
            ticking.cancel()
            await app.close_async()

    with way() as url:
        app, note = shop(url, namespace, budget=budget)
        took = asyncio.run(main())
    assert max(took) <= budget + 0.2 + NOISE
    assert sorted(lags)[len(lags) * 95 // 100] < 0.05


@pytest.fixture
def slow_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that answers when the test is over; names that it was asked for."""
    asked: list[str] = []
    over = threading.Event()
    real = socket.getaddrinfo

    def resolve(host: str, *args: object, **kwargs: object) -> object:
        if host != "store.invalid" or kwargs.get("flags"):
            return real(host, *args, **kwargs)  # type: ignore[arg-type]
        asked.append(host)
        over.wait(30)
        raise socket.gaierror("name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield asked
    over.set()


def test_a_resolver_that_hangs_holds_one_thread_and_no_caller(slow_resolver: list[str], namespace: str) -> None:
    app, note = shop("redis://store.invalid", namespace, budget=0.5)
    threads = [threading.Thread(target=pytest.raises, args=(EnqueueError, note.enqueue, n)) for n in range(20)]

    async def main() -> None:
        with pytest.raises(EnqueueError, match="nothing was sent"):
            await note.enqueue_async(1)
        await app.close_async()

    since = time.monotonic()
    for thread in threads:
        thread.start()
    asyncio.run(main())  # its end does not wait for the resolver either
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - since < 0.5 + 1
    assert slow_resolver == ["store.invalid"]


def test_each_connection_is_made_from_a_fresh_look_up(
    server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    answers = {"store.invalid": server.port}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        answers["store.invalid"] = taken.getsockname()[1]

        def resolve(host: str, port: int, *args: object, **kwargs: object) -> object:
            if host in answers and not kwargs.get("flags"):
                host, port = "127.0.0.1", answers[host]
            return real(host, port, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        app, note = shop("redis://store.invalid:6379", namespace)
        with pytest.raises(EnqueueError, match="nothing was sent"):
            note.enqueue(1)
        answers["store.invalid"] = server.port
        assert note.enqueue(1).jid
    app.flush(confirm=namespace)
    app.close()


def test_a_reply_that_never_comes_costs_the_budget_and_the_line(server: Server, namespace: str) -> None:
    direct, _ = shop(server.url, namespace)
    with proxied(server.url) as proxy:
        app, note = shop(proxy.url, namespace, budget=0.4)

        async def main() -> None:
            await note.enqueue_async(0)
            proxy.silent_down = True
            since = time.monotonic()
            with pytest.raises(EnqueueError) as caught:
                await note.enqueue_async(1)
            assert caught.value.stored == "unknown"
            with pytest.raises(EnqueueError):
                note.enqueue(2)
            assert time.monotonic() - since < 0.8 + NOISE
            proxy.silent_down = False
            before = proxy.connections
            again = await note.using(jid=caught.value.jids[0]).enqueue_async(1)
            assert again.duplicate
            assert proxy.connections == before + 1
            await app.close_async()

        asyncio.run(main())
        app.close()
    direct.flush(confirm=namespace)
    direct.close()


def test_a_reply_that_comes_in_drops_is_cut_off_by_the_same_deadline(server: Server, namespace: str) -> None:
    """A deadline per read would start anew with each piece, and never end."""
    with proxied(server.url) as proxy:
        app, note = shop(proxy.url, namespace, budget=0.5)
        assert app.counts().queued == 0
        dripping = threading.Event()

        def drip() -> None:
            proxy.say(b"*1000\r\n")
            while not dripping.wait(0.05):
                proxy.say(b":1\r\n")

        proxy.silent_down = True
        thread = threading.Thread(target=drip)
        since = time.monotonic()
        asking = threading.Thread(target=pytest.raises, args=(EnqueueError, note.enqueue, 1))
        asking.start()
        time.sleep(0.05)
        thread.start()
        asking.join(10)
        assert time.monotonic() - since < 0.5 + NOISE
        dripping.set()
        thread.join(10)
        proxy.swallow(False)
        app.flush(confirm=namespace)
        app.close()


@pytest.mark.parametrize("way", ["there", "back"])
def test_much_that_flows_is_no_silence(way: str, server: Server, namespace: str) -> None:
    """Two megabytes at two a second, with half a second of budget; at half of 5 Mbit/s they are too slow."""
    near, _ = shop(server.url, namespace)
    large = near.job(name="large")(lambda text: None)
    calls = [large.bind("x" * 250_000) for _ in range(8)]
    with proxied(server.url) as proxy:
        far, note = shop(proxy.url, namespace, budget=0.5)

        async def both() -> None:
            with pytest.raises(ProcessionError):
                await many_async()
            proxy.rate = 2_000_000
            await many_async()
            await far.close_async()

        async def many_async() -> None:
            await (far.enqueue_many_async(calls) if way == "there" else far.jobs_async("queued", limit=8))

        def many() -> None:
            far.enqueue_many(calls) if way == "there" else far.jobs("queued", limit=8)

        note.enqueue(1)  # it is connected
        if way == "back":
            near.enqueue_many(calls)
        proxy.rate = 300_000
        with pytest.raises(ProcessionError):
            many()
        proxy.rate = 2_000_000
        many()
        proxy.rate = 300_000
        asyncio.run(both())
        far.close()
    near.flush(confirm=namespace)
    near.close()


def test_sockets_ask_the_system_to_notice_a_dead_peer_too() -> None:
    with wire.new_socket(wire.Place("127.0.0.1", 1), socket.AF_INET) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if hasattr(socket, "TCP_KEEPIDLE"):
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [made.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [15, 5, 3]


def test_a_producer_behind_a_slow_link_is_only_slow(server: Server, namespace: str) -> None:
    direct, _ = shop(server.url, namespace)
    with proxied(server.url, seed=7) as proxy:
        proxy.delay = proxy.jitter = 0.02
        proxy.rate = 20_000
        app, note = shop(proxy.url, namespace, budget=10.0)
        for n in range(10):
            note.enqueue(n)
        app.close()
    assert direct.counts().queued == 10
    direct.flush(confirm=namespace)
    direct.close()
