"""What was read not long ago, kept for all who look: a reading that costs is shared, and repeated when it is old.

Held by `past.py` and `views.py`. Bounded; nothing here outlives the dashboard's process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from procession.clock import monotonic

T = TypeVar("T")

MOST = 100
"""Readings that are kept; the one read longest ago makes room."""


class Kept(Generic[T]):
    """Values by key, each with the moment until which it is as good as a new one."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, T]] = {}

    async def get(self, key: str, fresh: float, read: Callable[[], Awaitable[T]]) -> T:
        """The value, read anew when it is older than `fresh` seconds."""
        until, value = self._values.get(key, (0.0, None))
        if value is None or monotonic() > until:
            value = await read()
            self._values.pop(key, None)
            self._values[key] = monotonic() + fresh, value
            if len(self._values) > MOST:
                del self._values[next(iter(self._values))]
        return value
