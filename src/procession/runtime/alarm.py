"""When the next delayed job is due, as the store said last, and a timer that wakes a queue worker then.

Set and asked by `queue_worker.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from procession.clock import monotonic


class Alarm:
    """Made on the worker's loop. What is due later than in `farthest` seconds has no timer: until then the store is
    asked again anyway."""

    def __init__(self, wake: Callable[[], None], farthest: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._farthest = farthest
        self._timer: asyncio.TimerHandle | None = None
        self.at: float | None = None
        """On the scale of `clock.monotonic()`; None when nothing is delayed."""

    @property
    def left(self) -> float | None:
        """Seconds until then."""
        return None if self.at is None else self.at - monotonic()

    def set(self, next_due: int, now: int) -> None:
        """What the store says, in milliseconds of its own clock; `next_due` is 0 when nothing is delayed."""
        if not next_due:
            self.at = None
            return
        wait = max(next_due - now, 0) / 1_000
        at = monotonic() + wait
        if self._timer is not None:
            if self.at is not None and abs(at - self.at) <= 0.001:
                return
            self._timer.cancel()
        self.at = at
        self._timer = self._loop.call_later(wait, self._is_due) if wait <= self._farthest else None

    def _is_due(self) -> None:
        # The timer decides, not the clock: uvloop's may fire a little early, and a job would wait for the next bell.
        # The store may be a moment behind, too: then it is asked once more, and says how long that is.
        self._timer, self.at = None, 0.0
        self._wake()
