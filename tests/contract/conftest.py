"""One suite, every backend: memory, the bundled Valkey, the machine's redis-server; sync and async connections."""

from __future__ import annotations

import pytest

from procession.database import Database
from procession.database import open as open_database
from procession.testing.contract.fixtures import NOW, POLICY, Clock, ask, clock

__all__ = ["NOW", "POLICY", "Clock", "ask", "clock"]


@pytest.fixture(params=["memory", "valkey", "redis"])
def database(request: pytest.FixtureRequest, namespace: str, clock: Clock) -> Database:
    backend = request.param
    url = f"memory://{namespace}" if backend == "memory" else request.getfixturevalue(f"{backend}_url")
    return open_database(url, namespace=namespace, policy=POLICY, now=clock)
