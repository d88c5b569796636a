"""Takes down for the kit what passes between one app and its store: enqueues, attempts, and the effects among them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from procession.client import Procession
from procession.context import CURRENT
from procession.database import Claims
from procession.job import Claimed, NewJob, Outcome, Stored
from procession.schedule import Firing
from procession.testing.effects import Effect, Effects
from procession.testing.enqueued import Enqueued, noted, shown_arguments
from procession.testing.performing import Crew


class Performing(Protocol):
    """The kit, as it is asked here."""

    def clock(self) -> int:
        """The store's clock, milliseconds since the epoch."""
        ...

    def working(self) -> bool:
        """Jobs are being performed."""
        ...

    def inline_now(self) -> bool:
        """What was just enqueued is to be performed before the enqueue returns."""
        ...

    def run(self) -> Any:
        """Perform what is ready."""
        ...

    async def run_async(self) -> Any:
        """See `run`."""
        ...


class Watching:
    """See `Watcher`. Fills the log of enqueues, the effects, and the attempts of a crew."""

    def __init__(self, kit: Performing, app: Procession, crew: Crew, effects: Effects, log: list[Enqueued]) -> None:
        self._kit = kit
        self._app = app
        self._crew = crew
        self._effects = effects
        self._log = log

    def enqueued(self, jobs: Sequence[NewJob], stored: Sequence[Stored]) -> None:
        """See `Watcher.enqueued`."""
        current, now = CURRENT.get(), self._kit.clock()
        by = None if current is None else current.jid
        seen = [(noted(self._app, job, now, by, ""), its.new) for job, its in zip(jobs, stored, strict=True)]
        self._log += [it for it, new in seen if new]
        if current is not None:
            effects = [
                Effect(kind="enqueue", what=it.name, details=shown_arguments(it.arguments), changed=new)
                for it, new in seen
            ]
            self._effects.add(*effects)

    def fired(self, firings: Sequence[Firing], answers: Sequence[str]) -> None:
        """See `Watcher.fired`."""
        for firing, answer in zip(firings, answers, strict=True):
            if answer == "fired":
                self._log += [noted(self._app, job, self._kit.clock(), None, firing.name) for _, job in firing.runs]

    def claimed(self, worker: str, claims: Claims) -> None:
        """See `Watcher.claimed`."""
        self._crew.claimed(claims.jobs)

    def settled(self, worker: str, outcomes: Sequence[Outcome], kept: Sequence[bool]) -> None:
        """See `Watcher.settled`."""
        self._crew.settled(outcomes, kept)

    def is_anothers(self, job: Claimed) -> bool:
        """See `Watcher.is_anothers`."""
        return self._crew.is_anothers(job)

    def nobody_works(self) -> bool:
        """See `Watcher.nobody_works`."""
        return not self._kit.working()

    def perform_inline(self) -> None:
        """See `Watcher.perform_inline`. On a running loop, which cannot wait here, in a thread."""
        if not self._kit.inline_now():
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._kit.run()
            return
        errors: list[BaseException] = []

        def perform() -> None:
            try:
                self._kit.run()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=perform, name="procession-inline")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    async def perform_inline_async(self) -> None:
        """See `Watcher.perform_inline_async`."""
        if self._kit.inline_now():
            await self._kit.run_async()
