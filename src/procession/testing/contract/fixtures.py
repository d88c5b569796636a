"""What the functions of the contract ask for by name: the store's clock in the hand of the test, and a way to ask.

`database` is what the author of a backend provides (docs/backends.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession.database import Database, Policy
from procession.testing.contract.invariants import check_invariants

NOW = 1_800_000_000_000
POLICY = Policy(processed_count=20, failed_count=20, cancelled_count=20)
"""The policy of the database under test."""


class Clock:
    """The store's clock, in the hand of the test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now

    def pass_(self, milliseconds: int) -> None:
        """Let so much time pass."""
        self.now += milliseconds


@pytest.fixture
def clock() -> Clock:
    """What the database under test takes as `now`."""
    return Clock()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, database: Database) -> Iterator[Callable[..., Any]]:
    """Ask one or several operations; the connection is the sync one, or the async one on a loop of its own. At the end
    the invariants are checked, and everything is removed."""
    sync: Any = database.connect()
    if request.param == "sync":
        yield sync.ask
    else:
        loop = asyncio.new_event_loop()
        connection: Any = database.connect_async()

        async def asked(*operations: Any) -> Any:
            return await connection.ask(*operations)

        yield lambda *operations: loop.run_until_complete(asked(*operations))
        loop.run_until_complete(connection.close())
        loop.close()
    check_invariants(database, sync.ask)
    sync.ask(database.flush())
    sync.close()
