"""Asking a store that may be away: for ever, with capped full jitter, saying so once, once a minute, and at the end.

Called by the queue worker. Nothing is asked through here that must not be asked twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import Any

from procession.clock import monotonic
from procession.database import AsyncConnection
from procession.errors import StoreRefused, Unavailable

log = logging.getLogger("procession.worker")

LONGEST_PAUSE = 3.0
FIRST_PAUSE = 0.05
SAY_EVERY = 60.0


class Patient:
    """A connection for a queue worker. Only what may be repeated is asked: fenced, or with its token."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.repeated = False
        """The last answer came to a question that was asked more than once."""
        self._hurry = asyncio.Event()
        self._since: float | None = None
        self._said = 0.0

    def hurry(self) -> None:
        """From now on a question fails at once when the store is away: somebody wants to end."""
        self._hurry.set()

    async def ask(self, *operations: Any) -> Any:
        """Ask until there is an answer, or until `hurry`: then the last Unavailable or StoreRefused is raised."""
        tries = 0
        while True:
            try:
                answer = await self.connection.ask(*operations)
            except (Unavailable, StoreRefused) as error:
                self._lost(error)
                if self._hurry.is_set():
                    raise
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), pause_after(tries))
                tries += 1
            else:
                self.repeated = tries > 0
                self._returned()
                return answer

    def _lost(self, error: Exception) -> None:
        now = monotonic()
        if self._since is None:
            self._since, self._said = now, now
            log.warning("%s; running jobs go on, their outcomes wait", error)
        elif now - self._said >= SAY_EVERY:
            self._said = now
            log.warning("the store has been away for %.0f s: %s", now - self._since, error)

    def _returned(self) -> None:
        if self._since is not None:
            log.warning("the store is back after %.1f s", monotonic() - self._since)
            self._since = None


def pause_after(tries: int, rng: random.Random | Any = random) -> float:
    """Seconds to wait after so many failures: even between (almost) zero and a doubling bound, at most 3 s."""
    # The exponent is cut first: an outage of half an hour has more tries than a float has powers of two.
    return float(rng.uniform(0.01, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries + 1, 10))))
