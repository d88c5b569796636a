"""A moment at which a queue worker wants to be awake: its next heartbeat, the next delayed job.

It is kept as a time and as a timer. The timer decides that it has come, since uvloop's may fire a little early, and
what was due would wait for the next bell; the time does after a suspension, which timers do not count. Set and asked
by `queue_worker.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from procession.clock import monotonic


class Alarm:
    """Off at first. `wake` is called at the moment, on the loop that ran when it was set."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None
        self.at = math.inf
        """On the scale of `clock.monotonic()`; infinite while it is off, 0 once it has come."""

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.at - monotonic()

    def ring_in(self, seconds: float) -> None:
        """Set it anew. A millisecond sooner or later is left as it is."""
        at = monotonic() + seconds
        if self._timer is not None:
            if abs(at - self.at) <= 0.001:
                return
            self._timer.cancel()
        self.at = at
        self._timer = asyncio.get_running_loop().call_later(seconds, self._has_come) if seconds < math.inf else None

    def ring(self) -> None:
        """It has come."""
        self.at = 0.0
        self._wake()

    def _has_come(self) -> None:
        self._timer = None
        self.ring()
