"""Prometheus: what the processes of an app do, counted where they do it: enqueues, and how long runs take.

A layer of middleware: `app.use(JobMetrics())`. What the store knows (queues, states, workers) is the dashboard's own
`/metrics`. Labels are bounded by what an app defines: names of jobs, queues, outcomes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from procession.clock import monotonic
from procession.context import CurrentJob
from procession.errors import Control
from procession.middleware import Middleware

if TYPE_CHECKING:
    from procession.enqueuer import Call
    from procession.handle import JobHandle

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600)
"""Upper bounds of the histogram's buckets, in seconds."""


class JobMetrics(Middleware):
    """Counts for one app.

    Args:
        registry: where the metrics are kept; one app per registry.
        buckets: of run times, in seconds.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, buckets: tuple[float, ...] = SECONDS
    ) -> None:
        labels = ("job", "queue", "outcome")
        self._enqueues = Counter(
            "procession_enqueues", "Enqueues of this process: stored, duplicate, refused.", labels, registry=registry
        )
        self._runs = Histogram(
            "procession_run_seconds",
            "Runs of this process by what they came to: returned, raised, stopped, or the job's own choice.",
            labels,
            registry=registry,
            buckets=buckets,
        )

    def enqueue(self, call: Call[Any]) -> Generator[Call[Any], JobHandle[Any], None]:
        """See `Middleware.enqueue`."""
        outcome = "refused"
        try:
            handle = yield call
            outcome = "duplicate" if handle.duplicate else "stored"
        finally:
            queue = call.options.get("queue") or call.registered.queue
            self._enqueues.labels(call.registered.name, queue, outcome).inc()

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """See `Middleware.perform`."""
        began, outcome = monotonic(), "returned"
        try:
            return (yield)
        except Control as fate:
            outcome = type(fate).__name__.lower()
            raise
        except BaseException:
            outcome = "raised" if job.stop_reason is None else "stopped"
            raise
        finally:
            self._runs.labels(job.name, job.queue, outcome).observe(monotonic() - began)
