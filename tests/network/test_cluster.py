"""Six nodes of a cluster: redirections are followed, a dead primary is left for its heir, a slot moves under load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from procession import Procession, Refused
from procession.errors import Unavailable
from tests.network.cluster import Cluster, clustered
from tests.network.load import Load
from tests.network.servers import until
from tests.network.test_lines import shop

pytestmark = pytest.mark.xdist_group("network-cluster")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with clustered() as cluster:
        yield cluster


def test_any_node_leads_to_the_owner_of_the_shard(cluster: Cluster, namespace: str) -> None:
    for node in cluster.nodes:
        app, note = shop(node.url, namespace)

        async def both(note: object = note, app: Procession = app) -> None:
            await note.enqueue_async(1)  # type: ignore[attr-defined]
            assert await app.connection_async().wait(["q"], 2.0) == "q"  # bells are found there too
            await app.close_async()

        note.enqueue(0)
        asyncio.run(both())
        app.close()
    app, _ = shop(cluster.url, namespace)
    assert app.counts().queued == 12
    app.flush(confirm=namespace)
    app.close()


def test_a_slot_that_moves_at_once_under_load_is_followed(cluster: Cluster, namespace: str) -> None:
    source, slot = cluster.owner(f"{{{namespace}:0}}"), cluster.slot(f"{{{namespace}:0}}")
    target = cluster.other_primary(source)

    async def main() -> None:
        load = Load(cluster.url, namespace)
        for where in ((source, target), (target, source)):
            await load.during(partial(asyncio.to_thread, cluster.move_at_once, slot, *where))
        await load.check()
        assert set(load.runs.values()) == {1}
        assert not load.refusals
        await load.app.flush_async(confirm=namespace)
        await load.app.close_async()

    asyncio.run(main())


def test_while_a_slot_moves_key_by_key_everything_waits_and_nothing_is_torn(cluster: Cluster, namespace: str) -> None:
    source, slot = cluster.owner(f"{{{namespace}:0}}"), cluster.slot(f"{{{namespace}:0}}")
    target = cluster.other_primary(source)

    def move() -> None:
        cluster.begin_move(slot, source, target)
        for _ in range(3):  # in between, half of the shard is here and half there
            cluster.move_keys(slot, source, target, 2)
            app, note = shop(cluster.url, namespace)
            with pytest.raises(Refused) as caught:
                note.enqueue(-1)
            assert caught.value.stored == "no"
            app.close()
        while cluster.move_keys(slot, source, target):
            pass
        cluster.end_move(slot, source, target)

    async def main() -> None:
        load = Load(cluster.url, namespace)
        await load.during(partial(asyncio.to_thread, move))
        await load.check()
        assert set(load.runs.values()) == {1}
        assert set(load.refusals) <= {"no"}
        await load.app.flush_async(confirm=namespace)
        await load.app.close_async()

    asyncio.run(main())


def test_when_the_primary_dies_work_goes_on_with_its_replica_and_no_restart(cluster: Cluster, namespace: str) -> None:
    """The last of this module: it costs the cluster a node."""
    primary = cluster.owner(f"{{{namespace}:0}}")

    async def main() -> None:
        load = Load(cluster.url, namespace, durability="replica")  # so that nothing accepted may be lost

        async def trouble() -> None:
            primary.kill()
            await asyncio.to_thread(until, lambda: cluster.owner(f"{{{namespace}:0}}") is not primary)
            load.note = load.note.using(durability="memory")  # type: ignore[assignment]  # the heir has no replica

        await load.during(trouble)
        await load.check()
        assert load.refusals  # it was away
        await load.app.flush_async(confirm=namespace)
        await load.app.close_async()

    asyncio.run(main())


def test_a_seed_that_is_gone_costs_a_detour_only(cluster: Cluster, namespace: str) -> None:
    dead = next((node for node in cluster.nodes if node.process is not None and node.process.poll() is not None), None)
    gone = f"127.0.0.1:{dead.port}" if dead is not None else "127.0.0.1:1"
    alive = next(node for node in cluster.nodes if node is not dead)
    app, note = shop(f"redis://{gone},127.0.0.1:{alive.port}/", namespace)
    note.enqueue(1)
    app.flush(confirm=namespace)
    app.close()
    lost, _ = shop(f"redis://{gone}/", namespace)
    with pytest.raises(Unavailable, match="nothing was sent"):
        lost.stats()
