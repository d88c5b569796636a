"""What an app says once for all its jobs: retry policies, middleware, handlers of events, resources, dependencies'
stand-ins, the codec chain. One plain record per registry; filled by `extending.py`, read where jobs are enqueued and
performed. Nothing here runs.
"""

from __future__ import annotations

from procession.depends import Provider
from procession.events import Announced, Handler
from procession.lifespan import Lifespan
from procession.middleware import Middleware, around_enqueues
from procession.retry import Retry
from procession.sealing import Sealing


class Policies:
    """See above."""

    def __init__(self) -> None:
        self.retry = Retry()
        """For jobs whose definition and whose queue say nothing."""
        self.by_queue: dict[str, Retry] = {}
        self.middleware: list[Middleware] = []
        self.around_enqueues: list[Middleware] = []
        """Those of them that say something of enqueues."""
        self.handlers: dict[str, list[Handler]] = {}
        """Kind of event → who is told."""
        self.lifespan = Lifespan()
        self.sealing: Sealing | None = None
        self.replaced: dict[Provider, Provider] = {}
        """Stand-ins for providers of dependencies."""

    def changed(self) -> None:
        """Middleware or handlers were added."""
        told = [Announced(self.handlers["enqueued"])] if "enqueued" in self.handlers else []
        self.around_enqueues = [*around_enqueues(self.middleware), *told]

    def retry_of(self, own: Retry | None, queue: str) -> Retry:
        """The nearest policy: the job's own, that of the queue where it is performed, the app's."""
        return own or self.by_queue.get(queue) or self.retry
