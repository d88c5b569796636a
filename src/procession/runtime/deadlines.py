"""When runs are to be told to stop: one timer for the next of them, however many there are.

A timer for each run would cost more than a short run itself. Called by the performer, on its loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from procession.clock import monotonic
from procession.runtime.active import Active

SPARE = 64
"""Runs that are over may outnumber by this many those that go on, before they are cleared out."""


class Deadlines:
    """The deadlines of runs. `passed` is called with each run that is not done when its time is over."""

    def __init__(self, passed: Callable[[Active], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._passed = passed
        self._heap: list[tuple[float, int, Active]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf
        """When the timer rings."""
        self._over = 0

    def add(self, active: Active, seconds: float) -> None:
        """Tell of this run when so many seconds have passed since it started."""
        at = active.started + seconds
        heappush(self._heap, (at, next(self._numbers), active))
        if at < self._next:
            self._set(at)

    def over(self) -> None:
        """A run with a deadline is done. It is cleared out with others, now and then."""
        self._over += 1
        if self._over > SPARE + len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapify(self._heap)
            self._over = 0

    def close(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = self._loop.call_later(max(at - monotonic(), 0), self._ring)

    def _ring(self) -> None:
        self._next = math.inf
        try:
            while self._heap and (self._heap[0][2].done or self._heap[0][0] <= monotonic()):
                _, _, active = heappop(self._heap)
                if active.done:
                    self._over -= 1
                else:
                    self._passed(active)
        finally:  # whatever is said of one, the others are told
            if self._heap:
                self._set(self._heap[0][0])
