"""What an app says once for all its jobs: retry policies, middleware, handlers of events, resources, dependencies'
stand-ins, the codec chain. One plain record per registry; filled by `extending.py`, read where jobs are enqueued and
performed. Nothing here runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procession.retry import Retry

if TYPE_CHECKING:
    from procession.middleware import Middleware


class Policies:
    """See above."""

    def __init__(self) -> None:
        self.retry = Retry()
        """For jobs whose definition and whose queue say nothing."""
        self.by_queue: dict[str, Retry] = {}
        self.middleware: list[Middleware] = []
        self.around_enqueues: list[Middleware] = []
        """Those of them that say something of enqueues."""
        self.handlers: dict[str, list[Callable[..., Any]]] = {}

    def retry_of(self, own: Retry | None, queue: str) -> Retry:
        """The nearest policy: the job's own, that of the queue where it is performed, the app's."""
        return own or self.by_queue.get(queue) or self.retry
