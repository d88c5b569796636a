"""The page of one queue: who serves it, what is next, and its depth, throughput and latency over a span of time.

Loaded by `views.py`; its history is read once for all who look. The sparklines of the Overview come from here, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.client import Procession
from procession.clock import wall
from procession.database import QueueInfo, WorkerInfo
from procession.database.measures import EVENTS, MINUTE, RUN, WAIT, Bucket, quantile
from procession.job import Job
from procession.names import check_queue
from procession.web.chart import Chart, Line
from procession.web.joblist import JobRow, rows_of
from procession.web.jobnames import slices
from procession.web.past import CHOICES, ENDS, Choice, Latency, SpanLink, choice_of, latency
from procession.web.spark import Spark, carried

if TYPE_CHECKING:
    from procession.web.views import Source

NEXT = 20
"""Jobs of the queue that are shown, those that go next."""
MINUTES, FRESH = 30, 5.0
"""Minutes of a sparkline, and seconds for which what was read of them is shown on."""
SECONDS = 10_000
"""Milliseconds from which waits are drawn in seconds."""
PARTS = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class QueueRow(Struct, frozen=True, kw_only=True):
    """One queue, who serves it, and what is claimed next."""

    key: str
    info: QueueInfo
    workers: int
    heads: tuple[Job, ...] | None = ()
    """None: not looked at."""
    spark: Spark | None = None
    """How deep it was, where that is known."""


def queue_row(
    queue: QueueInfo, workers: Sequence[WorkerInfo], heads: tuple[Job, ...] | None = (), spark: Spark | None = None
) -> QueueRow:
    """One queue as it is now."""
    serving = sum(queue.name in worker.queues for worker in workers)
    return QueueRow(key=queue.name, info=queue, workers=serving, heads=heads, spark=spark)


class QueuePast(Struct, frozen=True, kw_only=True):
    """One queue in one span."""

    charts: tuple[Chart, ...]
    latency: tuple[Latency, Latency]


class OneQueue(Struct, frozen=True, kw_only=True):
    """See above; `rows` is empty when there is no such queue."""

    at: int
    queue: str
    rows: tuple[QueueRow, ...]
    spans: tuple[SpanLink, ...]
    charts: tuple[Chart, ...]
    latency: tuple[Latency, ...]
    next: tuple[JobRow, ...]


async def load_queue(source: Source, params: Mapping[str, str]) -> OneQueue:
    """See `OneQueue`. Raises ConfigError for a name that no queue can have, or a span that there is not."""
    app, name, choice = source.app, check_queue(params.get("queue", "")), choice_of(params.get("span", ""))
    database = app.database
    queues, workers, heads = await app.connection_async().ask(
        database.queues(), database.workers(), database.peek(name, limit=NEXT)
    )
    here = [queue_row(it, workers) for it in queues if it.name == name]

    async def read() -> QueuePast:
        asked = database.history(step=choice.step, number=choice.number, scope=f"q{name}")
        buckets = await app.ask_async(asked)
        return queue_past(choice, buckets)

    past = await source.memory.queues.get(f"{choice.key} {name}", choice.fresh, read)
    return OneQueue(
        at=wall(),
        queue=name,
        rows=tuple(here),
        spans=tuple(SpanLink(it, it == choice.key) for it in CHOICES),
        charts=past.charts,
        latency=past.latency,
        next=rows_of(heads),
    )


async def sparks(source: Source) -> Mapping[str, Spark]:
    """How deep each queue was in the last half hour; nothing of a queue of which nothing is known."""

    async def read() -> Mapping[str, Spark]:
        return await _depths(source.app)

    return await source.memory.sparks.get("", FRESH, read)


async def _depths(app: Procession) -> Mapping[str, Spark]:
    found = await slices(app, "queue", MINUTE, MINUTES)
    names = dict.fromkeys(name for it in found for name in it.scopes)
    known = [any(bucket.depth is not None for bucket in it.scopes.values()) for it in found]
    return {
        name: Spark(
            f"queued in the last {MINUTES} minutes",
            carried([
                (it.scopes[name].depth or 0 if name in it.scopes else 0) if there else None
                for it, there in zip(found, known, strict=True)
            ]),
        )
        for name in names
    }  # fmt: skip


def queue_past(choice: Choice, buckets: Sequence[Bucket]) -> QueuePast:
    """Buckets of one queue, the oldest first, as charts and a table."""
    size = choice.joined * choice.step
    events: dict[int, Counter[int]] = {}
    times: dict[int, Counter[int]] = {}
    depths: dict[int, float | None] = {}
    for bucket in buckets:
        at = bucket.at // size * size
        events.setdefault(at, Counter()).update(bucket.events)
        times.setdefault(at, Counter()).update(bucket.histograms)
        if depths.setdefault(at, bucket.depth) is None:
            depths[at] = bucket.depth

    def chart(key: str, title: str, unit: str, lines: tuple[Line, ...]) -> Chart:
        title = f"{title}, last {choice.words}"
        return Chart(key=key, title=title, unit=unit, begin=f"{choice.key} ago", at=tuple(events), lines=lines)

    waits = {name: [quantile(it, WAIT, part) for it in times.values()] for name, part in PARTS}
    longest = max((it for values in waits.values() for it in values if it is not None), default=0)
    size, unit = (1_000, "s") if longest >= SECONDS else (1, "ms")
    lines = tuple(Line(name, name, tuple(it and it / size for it in values)) for name, values in waits.items())
    ends = tuple(Line(it, it, tuple(float(row[EVENTS.index(it)]) for row in events.values())) for it in ENDS)
    sums = sum(times.values(), Counter())
    return QueuePast(
        charts=(
            chart("depth", "Depth", "jobs queued", (Line("queued", "queued", carried([*depths.values()])),)),
            chart("waits", "Wait of those that ended", unit, lines),
            chart("throughput", "Throughput", choice.unit, ends),
        ),
        latency=(latency("wait", sums, WAIT), latency("run", sums, RUN)),
    )
