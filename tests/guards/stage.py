"""What a scenario may ask for by the name of a parameter, fresh each time: so it can be seen with and without a guard.

The names are those of the fixtures of the contract suite and of the script tests, whose functions serve as scenarios.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from typing import Any

from redis import Redis

from procession import Procession
from procession.database import open as open_database
from procession.testing.contract.fixtures import POLICY, Clock
from tests.chaos.proxy import proxied
from tests.lua.conftest import Keyspace

NUMBERS = count(1)


def play(scenario: Callable[..., None], url: str, **given: Any) -> None:
    """Run a scenario in a namespace of its own; AssertionError when it does not hold."""
    parameters = inspect.signature(scenario).parameters.values()
    wanted = [it.name for it in parameters if it.name not in given and it.default is inspect.Parameter.empty]
    namespace = f"guards{next(NUMBERS)}"
    with ExitStack() as stack:
        clock = Clock()
        database = open_database(url, namespace=namespace, policy=POLICY, now=clock)
        connection = database.connect()
        stack.callback(connection.close)
        stack.callback(lambda: connection.ask(database.flush()))
        made: dict[str, Callable[[], Any]] = {
            "clock": lambda: clock,
            "database": lambda: database,
            "ask": lambda: connection.ask,
            "server": lambda: stack.enter_context(Redis.from_url(url, protocol=2)),
            "keys": lambda: _keyspace(stack, url, namespace),
            "proxy": lambda: stack.enter_context(proxied(url)),
            "app": lambda: _app(stack, url, namespace),
            "url": lambda: url,
            "namespace": lambda: namespace,
        }
        scenario(**{name: made[name]() for name in wanted}, **given)


def _keyspace(stack: ExitStack, url: str, namespace: str) -> Keyspace:
    keyspace = Keyspace(stack.enter_context(Redis.from_url(url, protocol=2)), namespace)
    stack.callback(keyspace.connection.close)
    return keyspace


def _app(stack: ExitStack, url: str, namespace: str) -> Procession:
    app = Procession(url, namespace=namespace, lease=2.0, heartbeat=0.2, grace=0.3)
    stack.callback(app.close)
    return app
