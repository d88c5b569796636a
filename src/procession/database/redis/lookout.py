"""Waiting for an answer: asleep, or on the lookout where it comes sooner than a thread would be woken.

To wake a thread on another core takes longer than a store nearby takes to answer. So a caller who asks one question
after the other looks for the answer for a moment before it goes to sleep, and gives way to whoever wants the processor
meanwhile. Not where the last answer took long, nor for a question that comes after a pause, nor while other threads
wait for answers, too: they need the interpreter. Called by `line.py`.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import ClassVar

from procession.clock import Deadline, monotonic

LOOK = 0.000_2
"""Seconds that an answer is looked for, at most."""
STREAK = 0.001
"""Seconds after an answer within which the next question belongs to the same run of questions."""

_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


class Lookout:
    """What one line waits with."""

    waiting: ClassVar[set[Lookout]] = set()
    """Those that wait for an answer now, each in a thread of its own."""

    def __init__(self, incoming: select.poll) -> None:
        self._incoming = incoming
        self._is_near = False
        self._came_at = 0.0

    def wait(self, deadline: Deadline) -> None:
        """Until something came. Raises TimeoutError when the time is over."""
        began = monotonic()
        in_streak = self._is_near and began - self._came_at < STREAK
        self.waiting.add(self)
        try:
            if not (in_streak and len(self.waiting) == 1 and self._sees_it(began + LOOK)):
                wait(self._incoming, deadline)
        finally:
            self.waiting.discard(self)
        self._came_at = monotonic()
        self._is_near = self._came_at - began < LOOK

    def _sees_it(self, until: float) -> bool:
        look = self._incoming.poll
        while not look(0):
            if monotonic() > until:
                return False
            _give_way()
        return True


def wait(what: select.poll, deadline: Deadline) -> None:
    """Sleep until a socket is ready. Raises TimeoutError when the time is over."""
    if not what.poll(deadline.left() * 1_000):
        raise TimeoutError("no answer in time")
