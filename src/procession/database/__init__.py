"""The seam: everything that the rest of the house knows about a store.

`open(url)` returns a `Database`. Its verbs return operations, its connections ask them. One folder per backend:
`memory/` is the executable specification, `redis/` the real one; one contract suite binds them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

from msgspec import Struct

from procession.database.health import Audit, Finding, Health, Inspection
from procession.database.limits import Limits, Occupancy
from procession.database.measures import Measures
from procession.database.notes import Notes
from procession.database.operation import AsyncConnection, Connection, Durability, Operation, Walk
from procession.database.orders import Orders
from procession.database.queue import Beat, Claims, Death, Held, Promoted, Queue
from procession.database.revision import Revision, Revisions
from procession.database.schedules import Scheduled, Schedules
from procession.database.shelf import Counts, Jobs, Page, Query, QueueInfo, Queues, Watch, WorkerInfo
from procession.database.trail import Trail
from procession.errors import ConfigError
from procession.names import shown

__all__ = [
    "AsyncConnection",
    "Audit",
    "Beat",
    "Claims",
    "Connection",
    "Counts",
    "Database",
    "Death",
    "Durability",
    "Finding",
    "Held",
    "Inspection",
    "Occupancy",
    "Operation",
    "Page",
    "Policy",
    "Promoted",
    "Query",
    "QueueInfo",
    "Revision",
    "Scheduled",
    "Walk",
    "WorkerInfo",
    "open",
]

DAY = 24 * 3600 * 1000


class Policy(Struct, frozen=True, kw_only=True):
    """How long finished jobs are kept, and how often a job may kill its worker. Ages in milliseconds, counts per
    shard."""

    processed_age: int = DAY
    processed_count: int = 100_000
    failed_age: int = 14 * DAY
    failed_count: int = 100_000
    cancelled_age: int = DAY
    cancelled_count: int = 10_000
    max_crashes: int = 3


class Database(
    Queue, Jobs, Revisions, Queues, Watch, Health, Measures, Notes, Orders, Schedules, Limits, Trail, Protocol
):
    """A store of jobs: verbs that make operations, and connections that ask them."""

    namespace: str
    url: str
    """Where it is, without a password: fit to be printed."""

    def connect(self, budget: float = 2.0) -> Connection:
        """A connection for sync callers. `budget` is the deadline of one call in seconds, connecting included."""
        ...

    def connect_async(self, budget: float = 2.0) -> AsyncConnection:
        """A connection for one event loop."""
        ...


REDIS = "procession.database.redis"
BACKENDS = {
    "memory": "procession.database.memory",
    **dict.fromkeys(["redis", "rediss", "valkey", "valkeys", "unix"], REDIS),
    **dict.fromkeys(["redis+sentinel", "rediss+sentinel", "valkey+sentinel", "valkeys+sentinel"], REDIS),
    "embedded": "procession.database.redis.embedded",
}


def open(  # noqa: A001
    url: str,
    *,
    namespace: str = "procession",
    policy: Policy | None = None,
    now: Callable[[], int] | None = None,
    credentials: Callable[[], tuple[str, str]] | None = None,
) -> Database:
    """Open the store at `url`. No connection is made before the first question.

    Args:
        url: `redis://`, `rediss://`, `valkey://`, `valkeys://`, each also with several hosts and with `+sentinel`,
            `unix://`, `memory://` or `embedded`.
        namespace: prefix of every key; two namespaces in one store never touch each other.
        policy: retention and crash budget.
        now: for tests: milliseconds since the epoch in place of the store's clock.
        credentials: gives username and password before each connection to a server; the URL's own count no more.

    Raises:
        ConfigError: the URL cannot be used.
    """
    scheme = url.partition("://")[0]
    module = BACKENDS.get(scheme)
    if module is None:
        known = ", ".join(f"{name}://" for name in BACKENDS if name != "embedded")
        raise ConfigError(f"cannot use the store URL {shown(url)!r}: it must begin with {known}, or be `embedded`")
    backend = import_module(module)
    given = {"credentials": credentials} if module == REDIS else {}
    return cast("Database", backend.open(url, namespace=namespace, policy=policy or Policy(), now=now, **given))
