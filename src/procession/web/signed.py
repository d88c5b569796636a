"""Who did what, written down: a line of the log, and a deed of the trail. Called after everything that somebody did."""

from __future__ import annotations

import logging

from procession.client import Procession
from procession.errors import DatabaseError
from procession.trail import deed
from procession.web.access import Access

log = logging.getLogger("procession.web")


async def signed(
    app: Procession, access: Access, what: str, on: str, *, changed: int = 1, asked: int = 1, via: str = "dashboard"
) -> None:
    """It is done, so a store that is away now is a warning only."""
    log.info("%s: %s changed %d of %d: %s", access.user or "this machine", what, changed, asked, on[:500])
    try:
        await app.write_trail_async(deed(access.user, what, on, changed=changed, asked=asked, via=via))
    except DatabaseError as error:
        log.warning("%s by %s is done, but not written into the trail: %s", what, access.user or "this machine", error)
