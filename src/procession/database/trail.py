"""The verbs of the trail: what people did is written down, and read by whoever wonders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from procession.database.operation import Operation
from procession.trail import Deed


class Trail(Protocol):
    """What people did."""

    def write_trail(self, deeds: Sequence[Deed]) -> Operation[None]:
        """Write down what was done, now by the store's clock.

        - The newest 5,000 are kept, each for 90 days.
        """
        ...

    def trail(self, *, before: int = 0, limit: int = 50) -> Operation[list[Deed]]:
        """Up to `limit` deeds, the newest first; with `before`, those whose `number` is smaller. O(limit)."""
        ...
