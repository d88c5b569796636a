"""What the store says when it does not want: each answer provoked on a real server. A producer gets a typed refusal,
a queue worker waits with what it has, and no job fails of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from procession import EnqueueError, Procession, Refused, State
from procession.database.redis.replies import ANSWERS, Then, raised, understood
from procession.errors import StoreRefused, WrongVersion
from procession.runtime.queue_worker import QueueWorker
from tests.network.servers import Server, free_port, serving, until
from tests.network.test_lines import kill_clients, shop

pytestmark = pytest.mark.xdist_group("network-refusals")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--repl-diskless-sync-delay", "0") as server:
        yield server


@contextmanager
def replica(server: Server) -> Iterator[None]:
    """It follows somebody who is not there."""
    with server.client() as client:
        client.replicaof("127.0.0.1", free_port())
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def forlorn_replica(server: Server) -> Iterator[None]:
    server.config(replica_serve_stale_data="no")
    with replica(server):
        yield
    server.config(replica_serve_stale_data="yes")


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Somebody's script never ends."""
    server.config(busy_reply_threshold=20)

    def script() -> None:
        with server.client(socket_timeout=60) as client, pytest.raises(Exception, match="killed"):
            client.eval("while true do end", 0)

    with server.client() as client:
        thread = threading.Thread(target=script)
        thread.start()
        until(lambda: _error(client.ping).startswith("Redis is busy") or "BUSY" in _error(client.ping))
        try:
            yield
        finally:
            client.script_kill()
            thread.join(10)
            server.config(busy_reply_threshold=5_000)


@contextmanager
def broken_disk(server: Server) -> Iterator[None]:
    """Snapshots fail: a folder lies where the file should."""
    (server.folder / "dump.rdb").mkdir()
    with server.client() as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        try:
            yield
        finally:
            (server.folder / "dump.rdb").rmdir()
            client.bgsave()
            until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")
            client.config_set("save", "")


@contextmanager
def no_replicas(server: Server) -> Iterator[None]:
    server.config(min_replicas_to_write=1)
    try:
        yield
    finally:
        server.config(min_replicas_to_write=0)


@contextmanager
def full(server: Server) -> Iterator[None]:
    server.config(maxmemory=1)
    try:
        yield
    finally:
        server.config(maxmemory=0)


@contextmanager
def crowded(server: Server) -> Iterator[None]:
    """Every place is taken, and ours was given away."""
    with server.client(single_connection_client=True) as client:
        client.config_set("maxclients", 1)
        client.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            client.config_set("maxclients", 10_000)


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """A password was set."""
    server.config(requirepass="s3cret")
    kill_clients_as(server, "s3cret")
    try:
        yield
    finally:
        server.password = "s3cret"
        server.config(requirepass="")
        server.password = ""


def kill_clients_as(server: Server, password: str) -> None:
    server.password = password
    kill_clients(server)
    server.password = ""


@contextmanager
def forbidden(server: Server) -> Iterator[None]:
    """The user lost the right to run scripts."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+evalsha", "+eval")


def _error(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return str(error)
    return ""


TROUBLES = {
    replica: "replica",
    forlorn_replica: "lost its primary",
    busy: "script holds the server",
    broken_disk: "cannot write to its disk",
    no_replicas: "fewer replicas",
    full: "memory is full",
    crowded: "every place for a client is taken",
    locked: "wants a password",
    forbidden: "lacks a right",
}


async def soon(true: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("trouble", "meaning"), TROUBLES.items(), ids=[it.__name__ for it in TROUBLES])
def test_a_producer_is_refused_a_worker_waits_and_no_job_fails(
    server: Server, namespace: str, trouble: Callable[[Server], AbstractContextManager[None]], meaning: str
) -> None:
    app = Procession(server.url, namespace=namespace, lease=5.0, heartbeat=0.5)
    begun, go = asyncio.Event(), asyncio.Event()
    runs = []

    @app.job(name="wait", queue="q", retry=False)
    async def wait(n: int) -> int:
        runs.append(n)
        begun.set()
        await go.wait()
        return n

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        job = await wait.enqueue_async(1)
        await begun.wait()
        with trouble(server):
            for enqueue in (wait.enqueue_async, partial(asyncio.to_thread, wait.enqueue)):
                with pytest.raises(Refused, match=meaning) as caught:
                    await enqueue(2)
                assert caught.value.stored == "no"
            go.set()
            await asyncio.sleep(0.3)  # long enough for the worker to be turned away with its outcome
            assert not running.done()
        assert await job.result_async(timeout=20) == 1
        last = await wait.enqueue_async(3)
        assert await last.result_async(timeout=20) == 3
        worker.stop()
        await running
        await app.close_async()

    asyncio.run(main())
    assert runs == [1, 3]
    assert (app.stats().processed, app.stats().failed, app.stats().scheduled) == (2, 0, 0)
    app.flush(confirm=namespace)
    app.close()


def test_a_server_that_loads_its_data_is_waited_for(namespace: str) -> None:
    with serving("--appendonly", "yes", "--loading-process-events-interval-bytes", "1024") as server:
        app, note = shop(server.url, namespace, lease=5.0, heartbeat=0.5)
        for n in range(60):
            note.enqueue(n)
        with server.client() as client:
            client.mset({f"filler{n}": "x" * 2_000 for n in range(150)})
            client.bgrewriteaof()  # so that it loads key by key, and answers meanwhile
            until(lambda: client.info("persistence")["aof_rewrites"] == 1)
            until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        server.kill()

        async def main() -> None:
            worker = QueueWorker(app)
            server.start("--key-load-delay", "15000", ready=False)
            until(lambda: "loading" in _error(lambda: _ping(server)))
            running = asyncio.ensure_future(worker.run())
            with pytest.raises(Refused, match="reading its data back") as caught:
                await note.enqueue_async(61)
            assert caught.value.stored == "no"
            while (await _stats(app)) < 60:
                await asyncio.sleep(0.05)
            worker.stop()
            await running
            await app.close_async()

        asyncio.run(main())
        assert app.stats().failed == 0
        app.close()


def _ping(server: Server) -> None:
    with server.client() as client:
        client.ping()


async def _stats(app: Procession) -> int:
    try:
        return (await app.stats_async()).processed
    except StoreRefused:
        return 0


def test_a_server_that_is_too_old_is_named_as_such(namespace: str) -> None:
    with serving("--rename-command", "EVALSHA", "") as server:  # answers as one that does not know the command
        app, note = shop(server.url, namespace)
        with pytest.raises(WrongVersion, match=r"Redis 7\.0 or Valkey 7\.2"):
            app.stats()
        with pytest.raises(Refused, match=r"too old .* or a proxy or rename-command hides") as caught:
            note.enqueue(1)
        assert caught.value.stored == "no"
        app.close()


def test_a_wrong_password_is_a_refusal_that_says_what_to_check(namespace: str) -> None:
    with serving("--requirepass", "right", password="right") as server:
        app, note = shop(server.url.replace("//", "//:wr0ng@"), namespace)
        with pytest.raises(Refused, match="user or password is wrong") as caught:
            note.enqueue(1)
        assert "wr0ng" not in str(caught.value)
        app.close()


def test_a_database_that_the_server_lacks_is_a_refusal_and_the_worker_waits(
    server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, note = shop(f"{server.url.removesuffix('/0').rstrip('/')}/99", namespace)

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        with pytest.raises(Refused, match="no database of this number") as caught:
            await note.enqueue_async(1)
        assert caught.value.stored == "no"
        await soon(lambda: "no database of this number" in caplog.text)
        assert not running.done()
        worker.stop()
        await running
        await app.close_async()

    asyncio.run(main())
    app.close()


def test_a_full_disk_refuses_new_work_and_mends_by_itself(namespace: str) -> None:
    import resource

    with serving("--appendonly", "yes", "--appendfsync", "always") as server:
        app, note = shop(server.url, namespace)
        note.enqueue(0)
        assert server.process is not None
        size = sum(path.stat().st_size for path in server.folder.rglob("*.aof"))
        server.config(appendfsync="everysec")  # with `always` the server ends itself instead
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 2_000, resource.RLIM_INFINITY))

        def refused() -> Refused | None:
            try:
                note.enqueue(1)
            except Refused as error:
                return error
            return None

        refusal = until(refused)
        assert "cannot write to its disk" in str(refusal)
        assert refusal.stored == "no"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: not refused())
        assert {job.state for job in app.jobs(State.QUEUED, limit=1_000).jobs} == {State.QUEUED}
        app.close()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.text)
def test_every_answer_in_the_table_is_found_by_its_text(answer: object) -> None:
    assert answer in ANSWERS
    row = next(it for it in ANSWERS if it is answer)
    text = row.text.removeprefix("…") + " and more"
    assert understood(text) is row
    kind = WrongVersion if row.then is Then.GIVE_UP else StoreRefused
    assert isinstance(raised(text, "there"), kind)


def test_an_answer_that_nobody_knows_is_an_error_and_may_have_changed_something(server: Server, namespace: str) -> None:
    app, note = shop(server.url, namespace)
    note.enqueue(1)
    with server.client() as client:
        keys = [key for key in client.keys("*") if namespace.encode() in key and b"lane" in key]
        for key in keys:
            client.delete(key)
            client.set(key, "not a list")
    with pytest.raises(EnqueueError) as caught:
        note.enqueue(2)
    assert caught.value.stored == "unknown"
    with server.client() as client:
        client.flushall()
    app.close()
