"""One suite, every backend: memory, the bundled Valkey, the machine's redis-server; sync and async connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession.database import Database, Policy
from procession.database import open as open_database
from tests.contract.invariants import check_invariants

NOW = 1_800_000_000_000
POLICY = Policy(processed_count=20, failed_count=20, cancelled_count=20)


class Clock:
    """The store's clock, in the hand of the test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now

    def pass_(self, milliseconds: int) -> None:
        self.now += milliseconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "valkey", "redis"])
def database(request: pytest.FixtureRequest, namespace: str, clock: Clock) -> Database:
    backend = request.param
    url = f"memory://{namespace}" if backend == "memory" else request.getfixturevalue(f"{backend}_url")
    return open_database(url, namespace=namespace, policy=POLICY, now=clock)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, database: Database) -> Iterator[Callable[..., Any]]:
    """Ask one or several operations; the connection is the sync one, or the async one on a loop of its own."""
    sync = database.connect()
    if request.param == "sync":
        yield sync.ask
    else:
        loop = asyncio.new_event_loop()
        connection = database.connect_async()
        yield lambda *operations: loop.run_until_complete(connection.ask(*operations))
        loop.run_until_complete(connection.close())
        loop.close()
    check_invariants(database, sync.ask)
    sync.ask(database.flush())
    sync.close()
