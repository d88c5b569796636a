"""A cluster of six nodes: three primaries, a replica each, made by hand. Slots can be moved, nodes killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis

from tests.network.servers import Server, several, until

SLOTS = 16_384
TIMEOUT = 1_000
"""Milliseconds of silence after which a node counts as failed."""


class Cluster:
    """See above."""

    def __init__(self) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(TIMEOUT), "--appendonly", "yes"]
        options += ["--cluster-replica-validity-factor", "0", "--repl-ping-replica-period", "1"]
        self.nodes = [Server(*options) for _ in range(6)]

    @property
    def url(self) -> str:
        """Three of its nodes."""
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3]) + "/"

    def start(self) -> None:
        for node in self.nodes:
            node.start(ready=False)
        for node in self.nodes:
            until(node.answers)
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        ids = []
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                ids.append(client.execute_command("CLUSTER", "MYID").decode())
                if number:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for number, node in enumerate(primaries):
            with node.client() as client:
                first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        until(lambda: all(self._knows(node, 6) for node in self.nodes))
        for number, node in enumerate(replicas):
            with node.client() as client:
                client.execute_command("CLUSTER", "REPLICATE", ids[number])
        until(lambda: all(self._is_ready(node) for node in self.nodes))
        until(lambda: all(self._is_linked(node) for node in replicas))

    def owner(self, key: str) -> Server:
        """The primary that owns the slot of a key."""
        slot = self.slot(key)

        def found() -> Server | None:
            for node in self.nodes:
                if node.process is None or node.process.poll() is not None:
                    continue
                with node.client() as client:
                    for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                        if first <= slot <= last:
                            return self.at(int(primary[1]))
            return None

        server = until(found)
        assert isinstance(server, Server)
        return server

    def slot(self, key: str) -> int:
        with self.nodes[-1].client() as client:
            return int(client.execute_command("CLUSTER", "KEYSLOT", key))

    def at(self, port: int) -> Server:
        return next(node for node in self.nodes if node.port == port)

    def other_primary(self, than: Server) -> Server:
        for node in self.nodes:
            if node is not than and node.process is not None and node.process.poll() is None:
                with node.client() as client:
                    if client.execute_command("ROLE")[0] == b"master":
                        return node
        raise AssertionError("no other primary")

    def begin_move(self, slot: int, source: Server, target: Server) -> None:
        """The first half of a move key by key: from now on keys may be in either node."""
        with source.client() as there, target.client() as here:
            here.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(there))
            there.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(here))

    def move_keys(self, slot: int, source: Server, target: Server, count: int = 1_000) -> int:
        """Move some keys of a slot; returns how many."""
        with source.client() as there:
            keys = there.execute_command("CLUSTER", "GETKEYSINSLOT", slot, count)
            if keys:
                there.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
            return len(keys)

    def end_move(self, slot: int, source: Server, target: Server) -> None:
        with source.client() as there, target.client() as here:
            owner = node_id(here)
            here.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner)
            there.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner)

    def move_at_once(self, slot: int, source: Server, target: Server) -> None:
        """A move as one step, which Valkey 9 knows."""
        with source.client() as there, target.client() as here:
            there.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", node_id(here))
            until(lambda: self.owner_port(here, slot) == target.port)

    @staticmethod
    def owner_port(client: Redis, slot: int) -> int:
        for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return int(primary[1])
        return 0

    @staticmethod
    def _info(node: Server) -> dict[str, str]:
        with node.client() as client:
            text: Any = client.execute_command("CLUSTER", "INFO")
        lines = (text.decode() if isinstance(text, bytes) else "\n".join(f"{k}:{v}" for k, v in text.items())).split()
        return dict(line.split(":", 1) for line in lines)

    def _knows(self, node: Server, count: int) -> bool:
        return int(self._info(node)["cluster_known_nodes"]) == count

    def _is_ready(self, node: Server) -> bool:
        return self._info(node)["cluster_state"] == "ok"

    @staticmethod
    def _is_linked(node: Server) -> bool:
        with node.client() as client:
            return client.info("replication").get("master_link_status") == "up"


def node_id(client: Redis) -> str:
    return str(client.execute_command("CLUSTER", "MYID").decode())


@contextmanager
def clustered() -> Iterator[Cluster]:
    """A cluster for the time of a test module."""
    cluster = Cluster()
    with several(cluster.nodes):
        cluster.start()
        yield cluster
