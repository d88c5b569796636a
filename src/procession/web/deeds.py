"""The Trail page, for admins: what people did, the newest first, a page at a time. Loaded by `views.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.clock import wall
from procession.errors import ConfigError
from procession.trail import Deed

if TYPE_CHECKING:
    from procession.web.views import Source

SHOWN = 100
"""Deeds on one page."""


class DeedRow(Struct, frozen=True):
    """One deed."""

    key: str
    deed: Deed


class Deeds(Struct, frozen=True, kw_only=True):
    """One page of the trail."""

    at: int
    before: int
    """Only deeds with a smaller number; 0 for the newest."""
    next: int
    """What `before` is for the next page; 0 on the last."""
    deeds: tuple[DeedRow, ...]

    @property
    def older(self) -> tuple[DeedRow, ...]:
        """The last one, where others are behind it."""
        return self.deeds[-1:] if self.next else ()


async def load_trail(source: Source, params: Mapping[str, str]) -> Deeds:
    """See `Deeds`. Raises ConfigError for a `before` that is no number."""
    asked = params.get("before", "0")
    if not asked.isdecimal() or len(asked) > 15:
        raise ConfigError(f"before={asked!r} must be the number of a deed")
    found = await source.app.trail_async(before=int(asked), limit=SHOWN + 1)
    rows = tuple(DeedRow(str(it.number), it) for it in found[:SHOWN])
    following = rows[-1].deed.number if len(found) > SHOWN else 0
    return Deeds(at=wall(), before=int(asked), next=following, deeds=rows)
