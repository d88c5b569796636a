"""For machines that watch: `/healthz` says whether the store answers, `/metrics` gives the counters as Prometheus text,
`/scaling` how far behind the queues are, as JSON (`?queue=mail` for one).

`/healthz` answers everybody and tells nothing else. Labels are bounded: states, and at most 100 queues.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from procession.client import Procession
from procession.clock import wall
from procession.errors import DatabaseError
from procession.job import State
from procession.scaling import scaling
from procession.web.joblist import count_of
from procession.web.views import Source

QUEUES = 100
"""Queues that have a label of their own; the deepest are taken."""
KIND = "text/plain; version=0.0.4"


def health_routes(source: Source) -> list[Route]:
    """See above."""

    async def healthz(_: Request) -> Response:
        try:
            await source.app.counts_async()
        except DatabaseError:
            return PlainTextResponse("the store does not answer\n", 503)
        return PlainTextResponse("ok\n")

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(await metrics_text(source.app), media_type=KIND)

    async def behind(request: Request) -> Response:
        only = request.query_params.getlist("queue")
        numbers = scaling(await source.app.queues_async(), wall(), only)
        return Response(msgspec.json.encode(numbers), media_type="application/json")

    return [Route("/healthz", healthz), Route("/metrics", metrics), Route("/scaling", behind)]


async def metrics_text(app: Procession) -> str:
    """What `/metrics` answers: Prometheus text."""
    database = app.database
    counts, queues, workers = await app.connection_async().ask(database.counts(), database.queues(), database.workers())
    now, lines = wall(), []

    def family(name: str, kind: str, says: str, samples: list[tuple[str, float]]) -> None:
        lines.append(f"# HELP procession_{name} {says}\n# TYPE procession_{name} {kind}\n")
        lines.extend(f"procession_{name}{labels} {value:.15g}\n" for labels, value in samples)

    events = ("enqueued", "processed", "failed", "cancelled", "retried", "recovered")
    family("jobs_total", "counter", "Jobs by what became of them, since the namespace began.",
           [(f'{{event="{it}"}}', getattr(counts, it)) for it in events])  # fmt: skip
    family("jobs", "gauge", "Jobs by state now; finished ones as far as they are kept.",
           [(f'{{state="{it}"}}', count_of(counts, it)) for it in State])  # fmt: skip
    deepest = sorted(queues, key=lambda it: -it.queued)[:QUEUES]
    family("queue_jobs", "gauge", "Queued jobs by queue.", [(f'{{queue="{it.name}"}}', it.queued) for it in deepest])
    family("queue_oldest_seconds", "gauge", "How long the first job of a queue has waited.",
           [(f'{{queue="{it.name}"}}', max(0, now - (it.oldest or now)) / 1_000) for it in deepest])  # fmt: skip
    family("queue_paused", "gauge", "1 for a queue that is paused.",
           [(f'{{queue="{it.name}"}}', it.paused) for it in deepest])  # fmt: skip
    family("workers", "gauge", "Queue workers that are alive.", [("", len(workers))])
    family("worker_places", "gauge", "Jobs that all workers together can run at once.",
           [("", sum(it.concurrency for it in workers))])  # fmt: skip
    return "".join(lines)
