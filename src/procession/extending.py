"""What an app says once for all its jobs: policies of queues, middleware, handlers of events, resources.

`Procession` is this and more (`client.py`). Everything is written down in the registry's `policies.py` and read when a
worker begins, so say it where jobs are defined, before one does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from procession.depends import Provider
from procession.errors import ConfigError
from procession.events import Kind
from procession.middleware import Middleware
from procession.names import check_queue
from procession.registry import Registry
from procession.retry import Retry

H = TypeVar("H", bound=Callable[..., Any])


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
        self.registry.policies_changed()

    def use(self, *middleware: Middleware) -> None:
        """Put layers around every enqueue and every run; the first is the outermost. See `Middleware`.

        Raises:
            ConfigError: it is no instance of a subclass of Middleware.
        """
        for layer in middleware:
            if not isinstance(layer, Middleware):
                shown: Any = layer
                raise ConfigError(f"{shown!r} is no middleware: pass an instance of a subclass of Middleware")
        self.registry.policies.middleware += middleware
        self.registry.policies_changed()

    def on(self, kind: Kind) -> Callable[[H], H]:
        """Have a function told of events: `@app.on("failed")`. It gets an `Event`; what it raises is logged and changes
        nothing.

        `enqueued` is said by the process that enqueues, in the caller's thread, to a `def` only. All others are said by
        the queue worker, one after another and beside the jobs: `started`, and once the store has accepted what a run
        came to, `processed`, `failed`, `retried`, `cancelled`.

        Raises:
            ConfigError: there is no such event, or nothing can await the handler.
        """
        if kind not in get_args(Kind):
            raise ConfigError(f"there is no event {kind!r}; there are {', '.join(get_args(Kind))}")

        def take(handler: H) -> H:
            if kind == "enqueued" and any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__))):
                name = getattr(handler, "__qualname__", repr(handler))
                raise ConfigError(f"{name}: nothing can await it where jobs are enqueued; write a def")
            self.registry.policies.handlers.setdefault(kind, []).append(handler)
            self.registry.policies_changed()
            return handler

        return take

    def lifespan(self, maker: H) -> H:
        """Open resources once in each process that performs jobs: `@app.lifespan` on a generator, `async def` or `def`.

        It gets the app, yields a dict of name → resource before the first job, and goes on when all jobs are over. A
        job gets at one by `Depends("name")`. If it raises, the worker does not begin. Several are opened in order and
        closed in reverse.

        Raises:
            ConfigError: it is no generator.
        """
        return self.registry.policies.lifespan.add(maker)

    def replace(self, provider: Provider, by: Provider | None) -> None:
        """Have another provider asked wherever this one is a dependency, as tests do; None ends that."""
        if by is None:
            self.registry.policies.replaced.pop(provider, None)
        else:
            self.registry.policies.replaced[provider] = by
