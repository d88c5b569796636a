"""The Errors page: failures grouped by what they have in common, with those that somebody muted out of sight.

Loaded by `views.py`. What makes two failures one error is in `fingerprint.py`; nothing is decided about it here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.clock import wall
from procession.database.measures import MINUTE, MINUTES_KEPT, ErrorGroup
from procession.query import Every, Term, Text
from procession.sealing import CLOSED
from procession.web.redaction import HIDDEN
from procession.web.shown import plain
from procession.web.spark import Spark

if TYPE_CHECKING:
    from procession.web.views import Source

GROUPS = 200
"""Errors that the page looks at, the last seen ones; muted ones among them."""
NEWEST = 5
"""Errors on the Overview,"""
LOOKED = 30
"""of so many that were seen last."""
NAMED = 600
"""Characters of its job names, and of its message, that the filter of an error names at most."""

_VALUES = re.compile(rf"<(?:text|number)>|{HIDDEN}|{re.escape(CLOSED)}|\n")
"""What stands in the message of a group for what differs from job to job, or is hidden or sealed."""


class ErrorRow(Struct, frozen=True, kw_only=True):
    """One error, and the filter that finds its jobs that failed for good."""

    key: str
    group: ErrorGroup
    muted: bool
    filter: str
    spark: Spark


class Errors(Struct, frozen=True, kw_only=True):
    """All errors that are not muted, or that are."""

    at: int
    muted: bool
    """True when those that are muted are asked for."""
    name: str
    """The job name that is asked for, "" for all."""
    others: tuple[Others]
    errors: tuple[ErrorRow, ...]


class Others(Struct, frozen=True):
    """How many there are on the other side."""

    key: str
    count: int
    muted: bool
    """True when the other side are the muted ones."""


async def load_errors(source: Source, params: Mapping[str, str]) -> Errors:
    """See `Errors`."""
    now, muted = wall(), params.get("muted") == "1"
    name = params.get("name", "")
    rows = [it for it in _rows(await source.app.errors_async(GROUPS), now) if not name or name in it.group.names]
    shown = tuple(it for it in rows if it.muted is muted)
    other = Others("all", len(rows) - len(shown), not muted)
    return Errors(at=now, muted=muted, name=name, others=(other,), errors=shown)


async def newest_errors(source: Source) -> tuple[ErrorRow, ...]:
    """For the Overview: the last seen ones that are not muted."""
    rows = _rows(await source.app.errors_async(LOOKED), wall())
    return tuple(it for it in rows if not it.muted)[:NEWEST]


def _rows(groups: Sequence[ErrorGroup], now: int) -> list[ErrorRow]:
    return [
        ErrorRow(
            key=it.fingerprint,
            group=it,
            muted=it.muted_until > now,
            filter=_filter(it),
            spark=_spark(it, now),
        )
        for it in groups
    ]


def _filter(group: ErrorGroup) -> str:
    """What finds its jobs, as near as filters come: the class, the job names, and the longest part of the message that
    is the same in all of them."""
    parts = [it for it in map(str.strip, _VALUES.split(group.message)) if plain(it, NAMED) == it]
    names = [Term("job", group.names)] if sum(map(len, group.names)) < NAMED else []
    same = [Text(max(parts, key=len))] if any(parts) else []
    return str(Every((Term("state", ("failed",)), Term("error", (group.type,)), *names, *same)))


def _spark(group: ErrorGroup, now: int) -> Spark:
    seen, last = dict(group.minutes), now // MINUTE
    minutes = range(last - MINUTES_KEPT + 1, last + 1)
    return Spark("attempts in the last hour", tuple(seen.get(at * MINUTE, 0) for at in minutes))
