"""Firing schedules, a duty that any queue worker does: store what the code declares, look at what is due, fire it.

Leaderless: all workers look, each decision names what it was made from, and the store applies the first of them.
Whoever is late finds that the schedule has moved on. Server time decides what is due. Started by `queue_worker.py`;
what an instant comes to is decided in `procession/schedule.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zoneinfo  # noqa: F401
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

import cronsim  # noqa: F401  # `cron.py` loads both with a first schedule; a worker out of descriptors could not

from procession.client import Procession
from procession.clock import monotonic
from procession.database import Database, Scheduled
from procession.errors import ConfigError, StoreRefused, Unavailable
from procession.runtime.outage import Patient
from procession.schedule import Firing, Schedule, ScheduleInfo, due, planned
from procession.sealing import Sealing

log = logging.getLogger("procession.worker")

LOOK = 60.0
"""Longest time between two looks, in seconds. A schedule that is made or edited rings the workers, who look at once."""
AWAY = 5.0
"""Seconds until another look while the store is away."""
APART = 0.05
"""Looks at the same instant are this far apart at most, so that most workers find nothing left to do."""
DECLARE = 60.0
"""Seconds between two times that a worker says what its code declares."""
LIMIT = 100
"""Most schedules that one look fires."""


class Scheduler:
    """What one worker does about schedules. `look` is one step; `run` goes on until it is cancelled. What the code
    declares, by name, may still grow."""

    def __init__(self, database: Database, declared: Mapping[str, Schedule], sealing: Sealing | None = None) -> None:
        self._database = database
        self._declared = declared
        self._sealing = sealing
        self._unreadable: set[str] = set()
        self._stored = False
        self._declare_at = 0.0
        self.wanted = asyncio.Event()
        """Set by whoever has heard that there is something to look at."""
        self.looked = asyncio.Event()
        """Set when the first look is over: what was due then is in its queue, unless the store is away."""

    @classmethod
    def of(cls, app: Procession) -> Self:
        """Of what stands in this app's code."""
        return cls(app.database, app.schedules.declared, app.registry.policies.sealing)

    async def run(self, patient: Patient) -> None:
        """Look whenever something is due or wanted, and at least once a minute. During an outage, wait for its end."""
        while True:
            try:
                pause = AWAY if patient.away else await self.look(patient)
            except (Unavailable, StoreRefused):
                pause = AWAY
            except Exception:  # a schedule must not end because something about another one was wrong
                log.exception("schedules could not be looked at")
                pause = LOOK
            self.looked.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.wanted.wait()
            self.wanted.clear()

    async def look(self, patient: Patient) -> float:
        """Fire what is due; returns after how many seconds to look again."""
        connection = patient.connection
        await self._declare(patient)
        limit = LIMIT + len(self._unreadable)  # those stay due until another worker fires them
        found = await connection.ask(self._database.due_schedules(limit))
        firings = [firing for info in found.schedules if (firing := self._decided(info, found.now)) is not None]
        if firings:
            answers = await connection.ask(self._database.fire(firings))
            for firing, answer in zip(firings, answers, strict=True):
                if answer == "fired":
                    self._tell(firing)
        if len(found.schedules) == limit:
            return APART
        following = [it.next_at for it in firings if it.next_at] + [found.next_due] * bool(found.next_due)
        wait = min(following, default=found.now + round(LOOK * 1_000)) - found.now
        return min(max(wait / 1_000, 0) + random.uniform(0, APART), LOOK)

    async def _declare(self, patient: Patient) -> None:
        declared = [*self._declared.values()]
        if not declared or monotonic() < self._declare_at:
            return
        if self._stored:  # until the store has come back empty
            names = [it.name for it in declared]
            self._stored = await patient.connection.ask(self._database.touch_schedules(names))
        if not self._stored:
            compared = [it.name for it in declared if self._sealing is not None]
            there: Scheduled = await patient.connection.ask(self._database.schedules(compared))
            plans = [planned(it, there.now, self._sealing, there.schedules) for it in declared]
            await patient.connection.ask(self._database.upsert_schedules(plans, declared=True))
            self._stored = True
        self._declare_at = monotonic() + DECLARE

    def _decided(self, info: ScheduleInfo, now: int) -> Firing | None:
        try:
            firing = due(info, now, self._sealing)
        except ConfigError as error:
            if info.name not in self._unreadable:
                self._unreadable.add(info.name)
                log.warning("%s; left to other workers", error)
            return None
        self._unreadable.discard(info.name)
        return firing

    def _tell(self, firing: Firing) -> None:
        for run, job in firing.runs:
            instant = datetime.fromtimestamp(run.at / 1_000, UTC).isoformat(" ")
            log.info("schedule %s is due: job %s for %s", firing.name, job.jid, instant)
        if firing.missed:
            log.warning("schedule %s: %s", firing.name, firing.missed.note)
