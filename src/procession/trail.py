"""What people did in a namespace, to jobs, queues and workers: who, what, on what, when. Nouns: nothing here asks."""

from __future__ import annotations

from msgspec import Struct

KEPT = 5_000
"""Deeds of one namespace that are kept, the newest,"""
KEPT_FOR = 90 * 24 * 3_600_000
"""for so many milliseconds."""
LONGEST = 500
"""Characters of `on`; what is longer is cut."""


class Deed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that somebody did, as it is stored: JSON."""

    who: str
    """The name that `auth` gave, or that of the user at a terminal; "" where nobody was named."""
    what: str
    """`retry`, `cancel`, `remove`, `pause`, `quiet`, …"""
    on: str
    """Which jobs, queue, worker, schedule, error or filter; at most 500 characters."""
    changed: int = 0
    """How many things it changed,"""
    asked: int = 0
    """of how many that were named."""
    via: str = ""
    """`dashboard`, `api` or `cli`."""
    at: int = 0
    """When, milliseconds since the epoch by the store's clock; the store fills it in."""
    number: int = 0
    """Its place in the trail; `before=` takes it."""


def deed(who: str, what: str, on: str, *, changed: int = 1, asked: int = 1, via: str = "") -> Deed:
    """A deed within its bounds."""
    cut = on if len(on) <= LONGEST else f"{on[: LONGEST - 1]}…"
    return Deed(who=who[:100], what=what[:40], on=cut, changed=changed, asked=asked, via=via)
