"""Three sentinels, a primary and its replica: the primary is found through them, each time anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from procession import Procession, Refused
from procession.errors import StoreRefused
from tests.network.load import Load
from tests.network.servers import Server, several, until
from tests.network.test_lines import shop

pytestmark = pytest.mark.xdist_group("network-sentinel")

SERVICE = "work"


class Watched:
    """A primary, a replica, and the sentinels that watch them."""

    def __init__(self) -> None:
        self.servers = [Server("--requirepass", "pw", "--masterauth", "pw", password="pw") for _ in range(2)]
        self.sentinels = [Server("--sentinel", "--requirepass", "spw", password="spw") for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:pw@{hosts}/{SERVICE}/0?sentinel_password=spw"

    def start(self) -> None:
        primary, replica = self.servers
        primary.start()
        replica.start("--replicaof", f"127.0.0.1 {primary.port}")
        until(lambda: self._link(replica) == "up")
        for sentinel in self.sentinels:
            self._start_sentinel(sentinel, primary)
        until(lambda: all(self._knows(sentinel) for sentinel in self.sentinels))

    def primary(self) -> Server:
        with self.sentinels[0].client() as client:
            port = int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return next(server for server in self.servers if server.port == port)

    @staticmethod
    def _start_sentinel(sentinel: Server, primary: Server) -> None:
        lines = [
            f"port {sentinel.port}",
            f"dir {sentinel.folder}",
            "requirepass spw",
            "sentinel sentinel-pass spw",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2",
            f"sentinel auth-pass {SERVICE} pw",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        configuration = sentinel.folder / "sentinel.conf"
        configuration.write_text("\n".join(lines) + "\n", "utf-8")
        sentinel.start_with(str(configuration), "--sentinel")

    @staticmethod
    def _link(replica: Server) -> str:
        with replica.client() as client:
            return str(client.info("replication").get("master_link_status"))

    @staticmethod
    def _knows(sentinel: Server) -> bool:
        with sentinel.client() as client:
            reply = client.execute_command("SENTINEL", "MASTER", SERVICE)
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        known = {key.decode() if isinstance(key, bytes) else key: value for key, value in pairs}
        return int(known["num-slaves"]) == 1 and int(known["num-other-sentinels"]) == 2


@contextmanager
def watched() -> Iterator[Watched]:
    it = Watched()
    with several([*it.servers, *it.sentinels]):
        it.start()
        yield it


@pytest.fixture(scope="module")
def service() -> Iterator[Watched]:
    with watched() as it:
        yield it


def test_the_primary_is_found_through_its_sentinels_with_their_own_password(service: Watched, namespace: str) -> None:
    app, note = shop(service.url, namespace)
    note.enqueue(1)
    asyncio.run(note.enqueue_async(2))
    assert app.counts().queued == 2
    assert "pw" not in repr(app)
    app.flush(confirm=namespace)
    app.close()


def test_a_service_that_the_sentinels_do_not_know_is_named(service: Watched, namespace: str) -> None:
    app = Procession(service.url.replace(f"/{SERVICE}/", "/other/"), namespace=namespace)
    with pytest.raises(StoreRefused, match="knows no service 'other'"):
        app.stats()


def test_a_server_that_is_asked_as_a_sentinel_is_told_as_what_it_is(service: Watched, namespace: str) -> None:
    server = service.servers[0]
    app = Procession(f"redis+sentinel://127.0.0.1:{server.port}/{SERVICE}?sentinel_password=pw", namespace=namespace)
    with pytest.raises(StoreRefused, match=f"127.0.0.1:{server.port} is no sentinel; write redis://"):
        app.stats()


def test_a_replica_that_is_named_as_the_primary_is_not_believed(service: Watched, namespace: str) -> None:
    replica = next(server for server in service.servers if server is not service.primary())
    app, note = shop(f"redis://:pw@127.0.0.1:{replica.port}", namespace)
    with pytest.raises(Refused, match="this is a replica") as caught:
        note.enqueue(1)
    assert caught.value.stored == "no"
    app.close()


def test_one_dead_sentinel_is_a_detour_only(service: Watched, namespace: str) -> None:
    service.sentinels[0].kill()
    app, note = shop(service.url, namespace)
    note.enqueue(1)
    app.flush(confirm=namespace)
    app.close()
    configuration = service.sentinels[0].folder / "sentinel.conf"
    service.sentinels[0].start_with(str(configuration), "--sentinel")


def test_when_the_primary_dies_under_load_work_goes_on_by_itself(service: Watched, namespace: str) -> None:
    primary = service.primary()

    async def main() -> None:
        load = Load(service.url, namespace, durability="replica")  # so that nothing accepted may be lost

        async def trouble() -> None:
            primary.kill()
            await asyncio.to_thread(until, lambda: service.primary() is not primary)
            load.note = load.note.using(durability="memory")  # type: ignore[assignment]  # the heir has no replica

        await load.during(trouble)
        await load.check()
        assert load.refusals  # it was away
        await load.app.flush_async(confirm=namespace)
        await load.app.close_async()

    asyncio.run(main())
