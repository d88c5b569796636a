"""How fast runs end, so that a worker can claim ahead by just what it is going to begin at once.

Claiming ahead lets a worker perform one batch while the store hands out the next. What is held so is bounded by time:
no job waits here longer than it would take to reach another worker. Asked by the executors; reads only the clock.
"""

from __future__ import annotations

from procession.clock import monotonic

SOON = 0.02
"""Seconds of work that are claimed ahead."""
MOST = 800
"""Most jobs that wait so."""
SHORTEST = 0.001
"""Seconds of which at least a rate is made."""


class Pace:
    """Runs ended in a second, of late."""

    def __init__(self) -> None:
        self._ended = 0
        self._since = monotonic()
        self._rate = 0.0

    def ended(self) -> None:
        """One more."""
        self._ended += 1

    def soon(self) -> int:
        """How many end within a moment, if it goes on so. Asked once a turn."""
        now = monotonic()
        passed = now - self._since
        if passed >= SHORTEST:
            self._rate = (self._rate + self._ended / passed) / 2
            self._ended, self._since = 0, now
        return min(MOST, int(self._rate * SOON))
