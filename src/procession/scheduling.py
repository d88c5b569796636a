"""Declaring schedules in code: `@app.cron` and `@app.every`, above `@app.job` or a worker class.

A part of `Procession` (`client.py`). Nothing is stored here: queue workers store what is declared when they begin.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar, Unpack

from procession.asker import Asker
from procession.enqueuer import Call
from procession.errors import ConfigError
from procession.schedules import Schedules, Timing, scheduled
from procession.worker import Caller

J = TypeVar("J", bound=Callable[..., Any])


class Scheduling(Asker):
    """The verbs about schedules."""

    @abstractmethod
    def caller(self, source: Any) -> Caller[Any, Any]:
        """The enqueuing side of a job."""

    @cached_property
    def schedules(self) -> Schedules:
        """Schedules at run time: list, find, upsert, edit, pause, resume, run_now, remove, backfill; also `_async`."""
        return Schedules(self, self._calling)

    def cron(
        self,
        expression: str,
        /,
        *,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **timing: Unpack[Timing],
    ) -> Callable[[J], J]:
        """Run a job at times of day: five fields as in crontab(5), or six with seconds in front.

        Write it above `@app.job`, `@app.worker` or, for a job without options, alone.

        Args:
            name: of the schedule; by default the job's.
            args, kwargs: for the job, checked here.
            tz: whose clocks count, such as "Europe/Paris"; "UTC" by default, never the machine's.
            dst: where clocks change, for a rule that names hour and minute: "once" (the default), "skip", "twice",
                "wall"; see `procession.cron.Dst`.
            missed: instants that passed while no worker was there: "once" (the default) runs the last of them, "skip"
                none that is more than a minute late, "all" the newest `catch_up` (100).
            overlap: while a run is not finished: "allow" (the default), "skip", "queue_one", "cancel_previous".
            jitter: put each run off by a part of this, drawn from its name and instant.

        Raises:
            ConfigError: an expression, zone or promise that cannot be kept.
        """
        return self._declaring(name, args, kwargs, {"cron": expression, **timing})

    def every(
        self,
        period: float | str | timedelta,
        /,
        *,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **timing: Unpack[Timing],
    ) -> Callable[[J], J]:
        """Run a job each time that so much time has passed, counted from the epoch: `every("1h")` is due on the hour,
        in UTC, whatever clocks do. At least a second; else as `cron`."""
        return self._declaring(name, args, kwargs, {"every": period, **timing})

    def _declaring(
        self, name: str | None, args: Sequence[Any], kwargs: Mapping[str, Any] | None, rule: dict[str, Any]
    ) -> Callable[[J], J]:
        def declare(job: J) -> J:
            source: Any = job
            if not isinstance(source, Caller) and self.registry.of(source) is None:
                self.registry.define(source)
            call = self.caller(source).bind(*args, **(kwargs or {}))
            self.schedules.declare(scheduled(name or call.registered.name, call, **rule))
            return job

        return declare

    def _calling(self, job: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call[Any]:
        if isinstance(job, str):
            registered = self.registry.get(job)
            if registered is None:
                raise ConfigError(f"no job of this app is named {job!r}")
            job = registered.source
        return self.caller(job).bind(*args, **kwargs)
