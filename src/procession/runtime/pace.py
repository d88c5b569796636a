"""How fast runs end, so that a worker can claim ahead by just what it is going to begin at once.

Claiming ahead lets a worker perform one batch while the store hands out the next. What is held so is bounded by time:
no job waits here longer than it would take to reach another worker. Asked by the executors; reads only the clock.
"""

from __future__ import annotations

from procession.clock import monotonic

SOON = 0.07
"""Seconds of work that are claimed ahead, and within which a pace is forgotten."""
MOST = 2_700
"""Most jobs that wait so, however short they are: when a worker is killed, they wait for the end of its lease."""
SHORTEST = 0.001
"""Seconds of which at least a rate is made."""
KEEPS = 7 / 8
"""What one run leaves of what was known of how long runs take."""
UNKNOWN = 1.0
"""Seconds that a run takes, before any has ended."""


class Pace:
    """How many runs of an executor ended in a second, of late, and how long one takes.

    Args:
        places: how many run there at once.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._ended = 0
        self._since = monotonic()
        self._rate = 0.0
        self._usual = UNKNOWN

    def ended(self, seconds: float, runs: int = 1) -> None:
        """One more, or so many, that took so long each."""
        self._ended += runs
        self._usual += (seconds - self._usual) * (1 - KEEPS**runs)

    def soon(self) -> int:
        """How many end within a moment, if it goes on so, and no more than can: long runs that end together are no
        pace. Asked once a turn."""
        now = monotonic()
        passed = now - self._since
        if passed >= SHORTEST:
            rate = self._ended / passed
            kept = self._rate + (rate - self._rate) * min(passed / SOON, 1.0)
            self._rate = max(rate, kept)  # a worker that waits for a trip is as fast as it was before
            self._ended, self._since = 0, now
        can = self._places / (self._usual or SHORTEST)
        return min(MOST, int(min(self._rate, can) * SOON))
