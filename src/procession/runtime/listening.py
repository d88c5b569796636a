"""Hearing the bells of one queue worker while its turns ask nothing: which, for how long, and what a ring means.

A ring is a hint to claim, or, on the worker's own bell, that one of its jobs is cancelled or a schedule was changed.
Behind a wait at all bells lies a claim, so that whoever has nothing to do is handed the job with the ring. While claims
go out in turns each of them hears the own bell. Made and started by `queue_worker.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from procession.clock import monotonic
from procession.database import Claims
from procession.errors import DatabaseError
from procession.runtime.claiming import Claim
from procession.runtime.outage import Patient

BLOCK = 10.0
"""Longest that an idle worker blocks on its bells, in seconds. A ring that was lost costs less: a heartbeat says, too,
that jobs are ready."""
FULL = 0.25
"""Seconds for which a worker has claimed nothing, because it is full, until it waits at its own bell."""


class Listener:
    """Waits at bells until it is cancelled; one wait at a time, on the line for bells of one connection.

    Args:
        own: the worker's own bell.
        left: seconds for which it may wait at all, such as until something is due.
        quiet: true while the worker is to claim nothing, so that only its own bell concerns it.
        ahead: the claim to lie behind the next wait; None when none may be made.
        came: called with what that claim took; says whether there is more to claim, None when the claim counts no more.
        unheard: called when nobody will hear what it took.
        rung: called with True when there may be something to claim, with False when there is not.
        called: called when the own bell rang.
    """

    def __init__(
        self,
        patient: Patient,
        queues: Sequence[str],
        own: str,
        *,
        left: Callable[[], float],
        quiet: Callable[[], bool],
        ahead: Callable[[], Claim | None],
        came: Callable[[Claim, Claims], Awaitable[bool | None]],
        unheard: Callable[[Claim], None],
        rung: Callable[[bool], None],
        called: Callable[[], None],
    ) -> None:
        self._patient = patient
        self._own = own
        self._all = [*queues, own]
        self._left = left
        self._quiet = quiet
        self._ahead = ahead
        self._came = came
        self._unheard = unheard
        self._rung = rung
        self._called = called
        self._hungry = True
        self._full_since: float | None = None
        self._changed = asyncio.Event()
        self._hearing: asyncio.Future[tuple[str | None, bool | None]] | None = None
        self._hears_all = False

    def turned(self, *, hungry: bool, claimed: bool) -> None:
        """A turn is over: there is more to claim (`hungry`) or not, and it asked for some or had no place."""
        self._hungry = hungry
        if hungry and claimed:
            self._full_since = None
        elif not hungry:
            self._full_since = None
            self._changed.set()
            if self.at_own_bell and not self._quiet():
                self.anew()
        elif self._full_since is None:
            self._full_since = monotonic()
            self._changed.set()

    @property
    def at_own_bell(self) -> bool:
        """It waits at the worker's own bell alone."""
        return self._hearing is not None and not self._hears_all

    def anew(self) -> None:
        """What is waited at is not it any more: the worker became quiet, or ceased to be. So after an outage, too: the
        line may be one of the time before, and its rings lost."""
        self._changed.set()
        if self._hearing is not None:
            self._hearing.cancel()

    async def run(self) -> None:
        """Listen whenever there is nothing to claim, and at the own bell alone while the worker is full or quiet."""
        while True:
            bells = await self._chosen()
            self._hears_all = bells is self._all
            wait = min(BLOCK, max(self._left(), 0.001))
            claim = self._ahead() if self._hears_all else None
            self._hearing = asyncio.ensure_future(self._hear(bells, wait, claim))
            bell, more, failed = None, None, False
            try:
                bell, more = await self._hearing
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise  # else told to listen anew
            except DatabaseError:
                failed = True
            finally:
                self._hearing, self._hears_all = None, False
            if bell == self._own:
                self._called()
            if more is not None:
                self._hungry = more
            elif bell != self._own:
                self._hungry = self._hungry or bell is not None  # until the turn that follows has asked
                self._rung(bell is not None)
            if failed:
                await asyncio.sleep(1.0)  # the turn logs the outage and waits for its end

    async def _hear(self, bells: Sequence[str], wait: float, claim: Claim | None) -> tuple[str | None, bool | None]:
        """Which bell rang, and what `came` says."""
        connection = self._patient.connection
        if claim is None:
            return await connection.wait(bells, wait), None
        try:
            bell, claims = await connection.wait_then_ask(bells, wait, claim.operation)
            return bell, await self._came(claim, claims)
        except BaseException:
            self._unheard(claim)
            raise

    async def _chosen(self) -> list[str]:
        """At which bells to wait, as soon as there are any."""
        while True:
            if self._quiet():
                return [self._own]
            if not self._hungry:
                return self._all
            full = None if self._full_since is None else FULL - (monotonic() - self._full_since)
            if full is not None and full < 0.001:  # a timer may fire a little early, and would again and again
                return [self._own]
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(full):
                    await self._changed.wait()
