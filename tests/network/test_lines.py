"""Connections that went stale, and connections that must not be shared: after a restart, a fork, on other loops, in
threads."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import EnqueueError, Procession
from procession.clock import Deadline
from procession.database.redis.address import Place
from procession.database.redis.line_async import AsyncLine
from procession.database.redis.wire import addresses
from procession.job import new_jid
from tests.chaos.proxy import proxied
from tests.network.servers import Server, serving, until

pytestmark = pytest.mark.xdist_group("network-lines")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def shop(url: str, namespace: str, **settings: Any) -> tuple[Procession, Any]:
    app = Procession(url, namespace=namespace, **settings)

    @app.job(name="note", queue="q")
    def note(n: int) -> int:
        return n

    return app, note


def restart(server: Server) -> None:
    server.kill()
    server.start()


def kill_clients(server: Server) -> None:
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize("doom", [restart, kill_clients])
def test_the_first_enqueue_after_the_server_closed_our_connections_simply_works(
    server: Server, namespace: str, doom: Callable[[Server], None]
) -> None:
    app, note = shop(server.url, namespace)

    async def main() -> None:
        note.enqueue(1)
        await note.enqueue_async(2)
        doom(server)  # the loop stands still meanwhile: it has not heard of the end of its line
        await note.enqueue_async(3)
        note.enqueue(4)
        await app.close_async()

    asyncio.run(main())
    assert app.counts().queued == 4
    app.flush(confirm=namespace)
    app.close()


def test_after_one_doubt_no_line_of_the_old_set_is_used_again(server: Server, namespace: str) -> None:
    direct, _ = shop(server.url, namespace)
    with proxied(server.url) as proxy:
        app, note = shop(proxy.url, namespace, budget=0.5)
        together = threading.Barrier(4)

        def one(n: int) -> None:
            together.wait(10)
            note.enqueue(n)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        made = proxy.connections
        proxy.swallow(True)
        with pytest.raises(EnqueueError):
            note.enqueue(5)
        proxy.swallow(False)
        for n in range(6, 10):
            note.enqueue(n)
        assert proxy.connections == made + 1  # one new line, and the silent ones of before are gone
        app.close()
    assert direct.counts().queued >= 8
    direct.flush(confirm=namespace)
    direct.close()


def test_what_may_have_run_is_told_as_unknown_and_never_repeated(server: Server, namespace: str) -> None:
    direct, _ = shop(server.url, namespace)
    with proxied(server.url) as proxy:
        app, note = shop(proxy.url, namespace)
        note.enqueue(0)
        proxy.cut_after_forwarding = True
        with pytest.raises(EnqueueError) as caught:
            note.enqueue(1)
        assert caught.value.stored == "unknown"
        again = note.using(jid=caught.value.jids[0]).enqueue(1)
        assert again.duplicate  # it had run

        async def main() -> str:
            await note.enqueue_async(2)
            proxy.cut_after_forwarding = True
            try:
                await note.enqueue_async(3)
            except EnqueueError as error:
                return error.stored
            finally:
                await app.close_async()
            return "no error"

        assert asyncio.run(main()) == "unknown"
        app.close()
    assert direct.counts().queued == 4
    direct.flush(confirm=namespace)
    direct.close()


def test_only_the_scripts_that_the_server_did_not_know_are_sent_whole(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)
    database = app.database
    note.enqueue(1)
    with server.client() as client:
        client.script_flush()
        app.connection().ask(database.queues())  # one of the two is known again
        before = client.info("commandstats")
        answers = app.connection().ask(database.queues(), database.purge("q", 10))
        after = client.info("commandstats")
    assert len(answers[0]) == 1
    assert answers[1] == 1

    def calls(name: str) -> int:
        return int(after[f"cmdstat_{name}"]["calls"]) - int(before.get(f"cmdstat_{name}", {"calls": 0})["calls"])

    assert (calls("evalsha"), calls("eval")) == (2, 1)
    app.flush(confirm=namespace)
    app.close()


def forked() -> int:
    """`os.fork()`, without Python 3.15's warning of threads: pytest-xdist keeps one, which holds nothing of ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        return os.fork()


def test_an_app_used_before_a_fork_has_lines_of_its_own_in_the_child(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)
    loop = asyncio.new_event_loop()
    note.enqueue(1)
    loop.run_until_complete(note.enqueue_async(2))
    child = forked()
    if not child:
        code = 1
        try:
            for n in range(50):
                note.enqueue(100 + n)
            asyncio.run(note.enqueue_async(3))
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    for n in range(50):
        note.enqueue(n)
        loop.run_until_complete(note.enqueue_async(200 + n))
    assert os.waitpid(child, 0)[1] == 0
    loop.run_until_complete(note.enqueue_async(4))  # the child's end closed nothing of ours
    assert app.counts().queued == 154
    loop.run_until_complete(app.close_async())
    loop.close()
    app.flush(confirm=namespace)
    app.close()


def test_a_connection_that_a_child_inherited_opens_lines_of_its_own(server: Server, namespace: str) -> None:
    app, _ = shop(server.url, namespace)
    database, connection = app.database, app.database.connect()
    connection.ask(database.pause(["mine"], ""))
    child = forked()
    if not child:
        code = 1
        try:
            for _ in range(200):
                assert connection.ask(database.find([new_jid()])) == [None]
            connection.close()
            code = 0
        finally:
            os._exit(code)
    for _ in range(200):
        assert [it.name for it in connection.ask(database.queues())] == ["mine"]
    assert os.waitpid(child, 0)[1] == 0
    assert [it.name for it in connection.ask(database.queues())] == ["mine"]
    connection.ask(database.flush())
    connection.close()


def test_loops_one_after_another_leave_nothing_behind(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)

    async def once() -> None:
        await asyncio.gather(*(note.enqueue_async(n) for n in range(5)))

    asyncio.run(once())
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(10):
        asyncio.run(once())  # and nobody calls close_async
    gc.collect()
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 1
    assert app.counts().queued == 55
    app.flush(confirm=namespace)
    app.close()


def test_loops_and_threads_at_once_never_share_a_line(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)
    errors: list[BaseException] = []

    def with_loop(base: int) -> None:
        async def main() -> None:
            for n in range(40):
                assert (await note.enqueue_async(base + n)).jid
            await app.close_async()

        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    def without(base: int) -> None:
        try:
            for n in range(40):
                note.enqueue(base + n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=with_loop if n % 2 else without, args=(n * 100,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert app.counts().queued == 320
    app.flush(confirm=namespace)
    app.close()


def test_bytes_that_nobody_asked_for_are_never_taken_for_an_answer(server: Server, namespace: str) -> None:
    direct, _ = shop(server.url, namespace)
    with proxied(server.url) as proxy:
        app, note = shop(proxy.url, namespace)
        note.enqueue(1)
        proxy.say(b":1\r\n")
        until(lambda: proxy.said)
        time.sleep(0.05)  # the bytes are on their way through the kernel; nothing tells when they are there
        assert note.enqueue(2).duplicate is False
        app.close()
    assert direct.counts().queued == 2
    direct.flush(confirm=namespace)
    direct.close()


def test_a_line_that_is_asked_too_late_leaves_no_error_that_nobody_hears(server: Server) -> None:
    heard: list[dict[str, Any]] = []

    async def ask_too_late() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        place = Place("127.0.0.1", server.port)
        line = await AsyncLine.open(place, addresses(place), None, Deadline(5))
        with pytest.raises(TimeoutError):
            await line.exchange([("PING",)], Deadline(0))
        line.close()
        del line
        gc.collect()

    asyncio.run(ask_too_late())
    assert heard == []
