"""Rates between two looks at the counters, as this dashboard saw them.

The hub's loads feed it; the Overview reads it. Held in memory, so there are none until somebody has watched for a
moment; what was before is in the store's history (`past.py`).
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from procession.database import Counts

KEPT = 10_000
"""Milliseconds that are remembered."""
BETWEEN = 400
"""Least milliseconds between two remembered looks; so at most 26 are kept."""
OVER = 5_000
"""Milliseconds over which a rate is taken."""

EVENTS = ("enqueued", "processed", "failed", "retried", "cancelled")


class Look(Struct, frozen=True):
    """The counters at one instant; `promoted` is how many were seen to leave `delayed`, at least."""

    at: int
    counts: Counts
    promoted: int = 0


class Meter:
    """See above."""

    def __init__(self) -> None:
        self.looks: deque[Look] = deque()

    def take(self, at: int, counts: Counts) -> Look:
        """Remember a look, unless the last one is as good as now."""
        last = self.looks[-1] if self.looks else None
        if last is not None and at - last.at < BETWEEN:
            return last
        promoted = last.promoted + max(0, last.counts.delayed - counts.delayed) if last else 0
        look = Look(at, counts, promoted)
        self.looks.append(look)
        while self.looks[0].at < at - KEPT:
            self.looks.popleft()
        return look

    def rates(self) -> dict[str, float]:
        """Events a second over the last five; empty as long as there is nothing to compare."""
        if len(self.looks) < 2:
            return {}
        new = self.looks[-1]
        old = next((look for look in self.looks if look.at >= new.at - OVER), new)
        if old is new:
            return {}
        seconds = (new.at - old.at) / 1_000
        return {
            name: max(0, getattr(new.counts, name) - getattr(old.counts, name)) / seconds for name in EVENTS
        }  # fmt: skip
