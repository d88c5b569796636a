"""One worker's page, and the orders that are given there and on the Workers page: quiet, resume, stop, stack.

Loaded by `views.py`, acted on by `actions.py`. The stack that is shown is the last one that somebody asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.client import Procession
from procession.clock import wall
from procession.database import Page, Query, WorkerInfo
from procession.errors import ConfigError
from procession.job import Job, State
from procession.orders import Order, Stack

if TYPE_CHECKING:
    from procession.web.views import Source

RUNNING = 500
"""Running jobs that the page of one worker looks at; it shows those of this worker."""


def beyond(running: Page, here: int, says: int, shown: int = RUNNING) -> int:
    """How many more jobs a worker runs than `shown` of `here`; where not all were looked at, by what it says itself."""
    return max(here, says if running.cursor else 0) - min(here, shown)


class WorkerParts(Struct, frozen=True, kw_only=True):
    """One worker; `info` is None once it is gone."""

    key: str
    name: str
    info: WorkerInfo | None
    silent: bool
    """Its lease is over."""
    waiting: tuple[Order, ...]
    """What it was told and has not heard yet."""
    stack: Stack | None
    shown: int
    more: int
    """How many jobs it runs beyond those that are shown."""


class RunRow(Struct, frozen=True):
    """One job that it runs."""

    key: str
    job: Job


class OneWorker(Struct, frozen=True, kw_only=True):
    """See above."""

    at: int
    parts: tuple[WorkerParts]
    jobs: tuple[RunRow, ...]


async def load_worker(source: Source, params: Mapping[str, str]) -> OneWorker:
    """See `OneWorker`."""
    name, now, database = params.get("worker", ""), wall(), source.app.database
    connection = source.app.connection_async()
    workers, running = await connection.ask(
        database.workers(), database.page(Query(state=State.RUNNING), limit=RUNNING)
    )
    (waiting,), (stack,) = await connection.ask(database.orders([name]), database.stacks([name]))
    info = next((it for it in workers if it.id == name), None)
    silent = info is not None and info.lease_until < now
    jobs = sorted((it for it in running.jobs if it.worker == name), key=lambda it: it.start_at)
    more = beyond(running, len(jobs), info.running if info else 0)
    part = WorkerParts(
        key="it", name=name, info=info, silent=silent, waiting=waiting, stack=stack, shown=len(jobs), more=more
    )
    return OneWorker(at=now, parts=(part,), jobs=tuple(RunRow(str(it.jid), it) for it in jobs))


async def act_on_worker(app: Procession, verb: str, form: Mapping[str, Sequence[str]]) -> tuple[int, int]:
    """Give one order. Raises UnknownWorker."""
    worker, by = form.get("worker", [""])[0], form["by"][0]
    if verb == "quiet":
        await app.quiet_worker_async(worker, by)
    elif verb == "resume-worker":
        await app.resume_worker_async(worker, by)
    elif verb == "stop-worker":
        await app.stop_worker_async(worker, by)
    elif verb == "stack":
        await app.ask_stack_async(worker, form.get("jid", [""])[0] or None, by)
    else:
        raise ConfigError(f"a worker cannot be told to {verb}")
    return 1, 1
