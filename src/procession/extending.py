"""What an app says once for all its jobs: retry policies of queues, middleware, handlers of events.

`Procession` is this and more (`client.py`). Everything is written down in the registry's `policies.py` and read when a
worker begins, so say it where jobs are defined, before one does.
"""

from __future__ import annotations

from typing import Any, TypeVar

from procession.errors import ConfigError
from procession.middleware import Middleware
from procession.names import check_queue
from procession.registry import Registry
from procession.retry import Retry

M = TypeVar("M", bound=Middleware)


class Extending:
    """The verbs about all jobs."""

    registry: Registry

    def queue_options(self, queue: str, *, retry: Retry | bool | int | None = None) -> None:
        """Say what holds for every job that is performed from this queue, unless its own definition says otherwise.

        Args:
            retry: a `Retry`, a number of runs, False; None leaves it to the app.

        Raises:
            ConfigError: the queue's name or the policy cannot be used.
        """
        checked = check_queue(queue)
        if retry is None:
            self.registry.policies.by_queue.pop(checked, None)
        else:
            self.registry.policies.by_queue[checked] = Retry.of(retry)

    def use(self, *middleware: Middleware) -> None:
        """Put layers around every enqueue and every run; the first is the outermost. See `Middleware`.

        Raises:
            ConfigError: it is no instance of a subclass of Middleware.
        """
        for layer in middleware:
            if not isinstance(layer, Middleware):
                shown: Any = layer
                raise ConfigError(f"{shown!r} is no middleware: pass an instance of a subclass of Middleware")
        self.registry.add_middleware(middleware)
