"""Searches of live views: repeated when something moved in the store, and never for more than a twentieth of the time.

Used by `joblist.py` on behalf of `live.py`. A page that is loaded, and its twin, always look for themselves.
"""

from __future__ import annotations

from msgspec import Struct

from procession.client import Procession
from procession.clock import monotonic
from procession.database import Counts
from procession.query import Filter
from procession.search import Found

SHARE = 20
"""A search that took long is not repeated for so many times as long …"""
LOOKED_AT = 1_000
"""Jobs that one look of a page goes through, some milliseconds of the server's; then another look follows."""
STILL = 10.0
"""… and one in a store where no counter moved, for so many seconds: `since:1h` goes on, and pairs of moves may hide."""
MOST = 100
"""Searches that are remembered; the one made longest ago makes room."""


class _Made(Struct, frozen=True):
    found: Found
    counts: Counts
    again: float
    """Before this moment it is not repeated,"""
    still: float
    """and before this one only when a counter moved."""


class Searches:
    """See above."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], _Made] = {}

    async def found(self, app: Procession, tree: Filter, cursor: str | None, limit: int, counts: Counts) -> Found:
        """What a search finds, or found a moment ago; `counts` are those of now."""
        key, now = (str(tree), cursor or ""), monotonic()
        made = self._made.get(key)
        if made is not None and (now < made.again or (now < made.still and counts == made.counts)):
            return made.found
        found = await app.search_async(tree, cursor=cursor, limit=limit, most=LOOKED_AT)
        ended = monotonic()
        self._made.pop(key, None)
        self._made[key] = _Made(found, counts, ended + SHARE * (ended - now), ended + STILL)
        if len(self._made) > MOST:
            del self._made[next(iter(self._made))]
        return found
