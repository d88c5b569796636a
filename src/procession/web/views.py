"""What each page shows, as frozen values: loaded through the client's verbs, in O(page), never a count on view.

The page, its `.json` twin and its live updates are all made from the same value. A `View` names its regions: lists of
items with a `key`, each drawn by one macro of `templates/rows.html`. Nothing here makes markup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from typing import Any

from msgspec import Struct
from starlette.requests import HTTPConnection

from procession.client import Procession
from procession.clock import wall
from procession.database import Query, WorkerInfo
from procession.job import Job, State
from procession.web.access import Access, Role
from procession.web.chart import Chart
from procession.web.deeds import load_trail
from procession.web.flow import Need, Step, needs, steps
from procession.web.joblist import JobRow, load_jobs, rows_of
from procession.web.jobnames import load_names
from procession.web.meter import Meter
from procession.web.onejob import load_job
from procession.web.onequeue import QueueRow, load_queue, queue_row, sparks
from procession.web.oneschedule import load_schedule
from procession.web.orders import beyond, load_worker
from procession.web.past import Latency, Memory, SpanLink
from procession.web.searches import Searches
from procession.web.timetable import load_timetable
from procession.web.troubles import ErrorRow, load_errors, newest_errors

FAILURES = 8
"""Newest failures on the Overview."""
HEADS = 3
"""Jobs at the head of a queue that the Queues page shows,"""
QUEUES = 50
"""for this many queues."""
LONGEST = 2_100
"""Characters of one parameter of an address: more than any filter or cursor has."""
RUNNING = 500
"""Running jobs that the Workers page looks at,"""
SHOWN = 20
"""and shows of each worker."""


class Source:
    """Where views come from: an app, the meter that watches its counters, and its past as read last.

    `app` is for looking only: some of what it answers may be redacted. What acts is given the app itself."""

    def __init__(self, app: Procession) -> None:
        self.app = app
        self.meter = Meter()
        self.memory = Memory()
        self.searches: Searches | None = None
        """Only where views are kept live: a page that is loaded looks for itself."""

    def kept_live(self) -> Source:
        """The same for the hub, whose searches are repeated only when they may find something else."""
        other = copy(self)
        other.searches = Searches()
        return other


class WorkerRow(Struct, frozen=True, kw_only=True):
    """One queue worker and the jobs it runs."""

    key: str
    info: WorkerInfo
    jobs: tuple[Job, ...]
    more: int
    """How many it runs beyond these."""
    silent: bool
    """Its lease is over: its jobs are about to be taken back."""


class Sums(Struct, frozen=True):
    """The numbers in the words everybody uses."""

    key: str
    processed: int
    scheduled: int
    failed: int


class Overview(Struct, frozen=True, kw_only=True):
    """The whole at a glance."""

    at: int
    sums: tuple[Sums]
    flow: tuple[Step, ...]
    needs: tuple[Need, ...]
    spans: tuple[SpanLink, ...]
    charts: tuple[Chart, ...]
    latency: tuple[Latency, ...]
    queues: tuple[QueueRow, ...]
    errors: tuple[ErrorRow, ...]
    failures: tuple[JobRow, ...]


class Queues(Struct, frozen=True, kw_only=True):
    """All queues."""

    at: int
    queues: tuple[QueueRow, ...]


class Workers(Struct, frozen=True, kw_only=True):
    """All queue workers; `unserved` are queues with jobs that none of them serves."""

    at: int
    workers: tuple[WorkerRow, ...]
    needs: tuple[Need, ...]


class View(Struct, frozen=True):
    """One page: how it is loaded, which parameters it knows, its regions (id, macro, attribute), seconds per tick."""

    name: str
    load: Callable[[Source, Mapping[str, str]], Awaitable[Any]]
    params: tuple[str, ...]
    regions: tuple[tuple[str, str, str], ...]
    tick: float
    role: Role = Role.VIEWER
    """Who may see it."""

    def open_to(self, request: HTTPConnection) -> bool:
        """True when whoever asks may see it."""
        access = request.scope.get("procession.access")
        return self.role is Role.VIEWER or (isinstance(access, Access) and access.may(self.role))


async def load_overview(source: Source, params: Mapping[str, str]) -> Overview:
    """See `Overview`. Raises ConfigError for a span that there is not."""
    app, now = source.app, wall()
    database, connection = app.database, app.connection_async()
    counts, queues, workers = await connection.ask(database.counts(), database.queues(), database.workers())
    failed = await connection.ask(database.page(Query(state=State.FAILED), limit=FAILURES))
    past = await source.memory.past(app, params.get("span", ""))
    deep = await sparks(source)
    look = source.meter.take(now, counts)
    capacity = sum(worker.concurrency for worker in workers)
    return Overview(
        at=now,
        sums=(Sums("all", counts.processed, counts.queued + counts.delayed + counts.blocked, counts.failed),),
        flow=steps(look, source.meter.rates(), capacity),
        needs=needs(queues, workers, now),
        spans=past.spans,
        charts=(past.chart,),
        latency=past.latency,
        queues=tuple(queue_row(it, workers, spark=deep.get(it.name)) for it in queues[:QUEUES]),
        errors=await newest_errors(source),
        failures=rows_of(failed.jobs),
    )


async def load_queues(source: Source, _: Mapping[str, str]) -> Queues:
    """See `Queues`."""
    app = source.app
    queues, workers = await app.connection_async().ask(app.database.queues(), app.database.workers())
    asked = [queue.name for queue in queues if queue.queued][:QUEUES]
    found = await asyncio.gather(*(app.ask_async(app.database.peek(name, limit=HEADS)) for name in asked))
    heads = {name: tuple(jobs) for name, jobs in zip(asked, found, strict=True)}
    rows = (queue_row(it, workers, heads.get(it.name, None if it.queued else ())) for it in queues)
    return Queues(at=wall(), queues=tuple(rows))


async def load_workers(source: Source, _: Mapping[str, str]) -> Workers:
    """See `Workers`."""
    app, now = source.app, wall()
    database = app.database
    workers, queues, running = await app.connection_async().ask(
        database.workers(), database.queues(), database.page(Query(state=State.RUNNING), limit=RUNNING)
    )
    held: dict[str, list[Job]] = {}
    for job in running.jobs:
        held.setdefault(job.worker, []).append(job)
    rows = (
        WorkerRow(
            key=it.id,
            info=it,
            jobs=tuple(held.get(it.id, ())[:SHOWN]),
            more=beyond(running, len(held.get(it.id, ())), it.running, SHOWN),
            silent=it.lease_until < now,
        )
        for it in sorted(workers, key=lambda it: (it.host, it.started_at, it.id))
    )
    unserved = tuple(need for need in needs(queues, workers, now) if need.kind == "unserved")
    return Workers(at=now, workers=tuple(rows), needs=unserved)


VIEWS = {
    view.name: view
    for view in (
        View(
            "overview", load_overview, ("span",),
            (
                ("sums", "sums", "sums"), ("flow", "step", "flow"), ("needs", "need", "needs"),
                ("charts", "chart", "charts"), ("latency", "latency", "latency"),
                ("queues", "queue_line", "queues"), ("errors", "error_line", "errors"),
                ("failures", "failure", "failures"),
            ),
            0.5,
        ),
        View(
            "jobs", load_jobs, ("state", "q", "queue", "name", "cursor"),
            (("tabs", "tab", "tabs"), ("jobs", "job", "jobs"), ("further", "further", "further")),
            1.0,
        ),
        View(
            "job", load_job, ("jid",),
            (
                ("head", "job_head", "parts"), ("course", "job_course", "parts"),
                ("outcome", "job_outcome", "parts"), ("log", "log_line", "lines"),
            ),
            0.5,
        ),
        View(
            "errors", load_errors, ("muted", "name"),
            (("others", "others", "others"), ("errors", "error", "errors")),
            1.0,
        ),
        View("names", load_names, ("span",), (("names", "name", "names"),), 1.0),
        View("queues", load_queues, (), (("queues", "queue", "queues"),), 1.0),
        View(
            "queue", load_queue, ("queue", "span"),
            (
                ("head", "queue_head", "rows"), ("charts", "chart", "charts"), ("latency", "latency", "latency"),
                ("next", "queue_next", "next"),
            ),
            1.0,
        ),
        View("schedules", load_timetable, (), (("schedules", "schedule", "schedules"),), 1.0),
        View(
            "schedule", load_schedule, ("schedule", "after", "until"),
            (("head", "schedule_head", "rows"), ("slots", "slot", "slots"), ("runs", "run", "runs")),
            1.0,
        ),
        View("workers", load_workers, (), (("needs", "need", "needs"), ("workers", "worker", "workers")), 1.0),
        View(
            "worker", load_worker, ("worker",),
            (
                ("head", "worker_head", "parts"), ("runs", "worker_run", "jobs"), ("more", "worker_more", "parts"),
                ("stack", "worker_stack", "parts"),
            ),
            1.0,
        ),
        View(
            "trail", load_trail, ("before",), (("deeds", "deed", "deeds"), ("older", "older", "older")),
            2.0, Role.ADMIN,
        ),
    )
}  # fmt: skip
