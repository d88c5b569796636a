"""The walk over a store that finds the jobs a filter lets through: bounded in jobs and in time, with a cursor to go on.

Pure: a generator that yields questions and is sent the answers, so that one text serves `app.search`, its async twin
and `bulk.py`. It looks only into the states that the filter leaves open. What a filter means is in `matching.py`.
Nothing here changes a job, and no call walks through a whole store.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from procession.asker import check_limit
from procession.clock import monotonic, wall
from procession.database import Database, Page, Query, Walk
from procession.errors import ConfigError
from procession.job import Job, State
from procession.matching import is_timed, matcher, queue_of, states_of
from procession.query import Filter, parse

MOST_SCANNED = 20_000
"""Most jobs that one call looks at."""
MOST_SECONDS = 0.25
"""After this time a call begins no further trip."""
MOST_FOUND = 1_000
"""Most jobs that one call returns."""
TRIP = 500
"""Most jobs that one trip reads: a few milliseconds of the server's time."""
ORDER = (
    State.RUNNING, State.QUEUED, State.BLOCKED, State.DELAYED, State.FAILED, State.PROCESSED, State.CANCELLED,
)  # fmt: skip
"""In which order states are looked through: what moves first."""


class Found(Struct, frozen=True):
    """What one call of a search came to."""

    jobs: list[Job]
    cursor: str | None
    """Asks for more; None when everything was looked at. Jobs may be empty and a cursor there: the budget ended."""
    scanned: int
    """How many jobs were looked at."""


class _Place(Struct, frozen=True, array_like=True):
    """Where a search stands: the state, the store's cursor of the page, and the last job of that page that was seen."""

    state: State
    page: str | None = None
    seen: str = ""


def read(given: Filter | str) -> Filter:
    """A filter, from its text where it is not one yet. Raises FilterError, or ConfigError for neither of the two."""
    if not isinstance(given, Filter | str):
        raise ConfigError(f"{given!r:.200} is no filter: write one as text, such as 'state:failed queue:mail'")
    return parse(given) if isinstance(given, str) else given


def search(
    database: Database,
    given: Filter | str,
    cursor: str | None,
    limit: int,
    *,
    now: int | None = None,
    most: int | None = None,
) -> Walk[Found]:
    """Look for up to `limit` jobs, state after state; finished ones newest first.

    Every job that stays where it is while the search goes on is found once; one that moves meanwhile may be found
    twice, or be missed. `now` is what `since:2h` counts from: the store's clock, unless it is given. `most` is how many
    jobs are looked at, 20,000 by default; a trip may go over it.

    Raises:
        FilterError: the filter cannot be read.
        ConfigError: the limit or the cursor cannot be used.
    """
    tree, ends = read(given), monotonic() + MOST_SECONDS
    check_limit(limit, MOST_FOUND)
    place = _placed(cursor) if cursor else _Place(ORDER[0])
    if now is None:
        now = (yield (database.clock(),)) if is_timed(tree) else wall()
    test, states, queue = matcher(tree, now), states_of(tree), queue_of(tree)
    found: list[Job] = []
    scanned, trip = 0, TRIP if place.seen else min(limit, TRIP)  # a page that was begun is read as long as it was
    for state in ORDER[ORDER.index(place.state) :]:
        if state not in states:
            continue
        if state is not place.state:
            place = _Place(state)
        while True:
            if scanned >= (most or MOST_SCANNED) or (scanned and monotonic() > ends):
                return Found(found, _token(place), scanned)
            page: Page = yield (database.page(Query(state=state, queue=queue), cursor=place.page, limit=trip),)
            jobs = _after(page.jobs, place.seen)
            for at, job in enumerate(jobs):
                if test(job):
                    found.append(job)
                    if len(found) == limit and at + 1 < len(jobs):
                        stopped = _Place(state, place.page, str(job.jid))
                        return Found(found, _token(stopped), scanned + at + 1)
            # with a queue the store passes over the jobs of others, and says only that there is more
            scanned += max(len(jobs), trip if page.cursor and queue else 0)
            if page.cursor is None:
                break
            place, trip = _Place(state, page.cursor), TRIP
            if len(found) == limit:
                return Found(found, _token(place), scanned)
        if len(found) == limit and (left := _next(state, states)):
            return Found(found, _token(_Place(left)), scanned)
    return Found(found, None, scanned)


def _next(state: State, states: frozenset[State]) -> State | None:
    return next((it for it in ORDER[ORDER.index(state) + 1 :] if it in states), None)


def _after(jobs: list[Job], seen: str) -> list[Job]:
    """What of a page comes after the job seen last; all of it when that job is there no more."""
    for at, job in enumerate(jobs) if seen else ():
        if str(job.jid) == seen:
            return jobs[at + 1 :]
    return jobs


def _token(place: _Place) -> str:
    return msgspec.json.encode(place).hex()


def _placed(cursor: str) -> _Place:
    try:
        return msgspec.json.decode(bytes.fromhex(cursor), type=_Place)
    except (ValueError, msgspec.MsgspecError):
        raise ConfigError(f"cursor {cursor[:40]!r} is not one that a search returned; search from the start") from None
