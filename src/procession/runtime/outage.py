"""Asking a store that may be away: wait for ever, with capped full jitter, and say so once, once a minute, and at
the end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from procession.clock import monotonic
from procession.database import AsyncConnection
from procession.errors import StoreRefused, Unavailable

log = logging.getLogger("procession.worker")

LONGEST_PAUSE = 3.0
"""Longest wait between two tries, in seconds; a fifth of the lease where that is shorter."""


class Patient:
    """A connection for a queue worker. Only what may be repeated is asked through it: fenced, or with its token.

    `asking` is called before each try, so that whoever watches sees that the asker is not stuck; `back` when an outage
    is over. Once `hurried` is set nobody is patient any more: a question without an answer raises.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        asking: Callable[[], None],
        longest_pause: float,
        hurried: asyncio.Event,
        back: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._hurried = hurried
        self._longest_pause = longest_pause
        self._asking = asking
        self._back = back
        self._since: float | None = None
        self._said = 0.0

    async def ask(self, *operations: Any) -> Any:
        """Ask until there is an answer. Raises Unavailable or StoreRefused only when `hurried`."""
        tries = 0
        while True:
            self._asking()
            try:
                answer = await self.connection.ask(*operations)
            except (Unavailable, StoreRefused) as error:
                self._lost(error)
                if self._hurried.is_set():
                    raise
                tries += 1
                pause = random.uniform(0.01, min(self._longest_pause, 0.05 * 2 ** min(tries, 10)))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurried.wait(), pause)
            else:
                self.returned()
                return answer

    @property
    def away(self) -> bool:
        """True from a lost answer until the next one."""
        return self._since is not None

    def _lost(self, error: Exception) -> None:
        now = monotonic()
        if self._since is None:
            self._since, self._said = now, now
            log.warning("%s; running jobs go on, their outcomes wait", error)
        elif now - self._said >= 60:
            self._said = now
            log.warning("the store has been away for %.0f s: %s", now - self._since, error)

    def returned(self) -> None:
        """The store has answered."""
        if self._since is not None:
            log.warning("the store is back after %.1f s", monotonic() - self._since)
            self._since = None
            self._back()
