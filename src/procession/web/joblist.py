"""The Jobs page: one state, or what a filter lets through, a page at a time by cursor.

Loaded by `views.py`. Without a filter the store pages one state; with one it is `app.search`, bounded as it is. A
filter that cannot be read is a value like any other: the page marks the token that offends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.clock import wall
from procession.database import Counts, Page, Query
from procession.errors import ConfigError, FilterError
from procession.job import Job, State
from procession.query import Every, Filter, Term, parse
from procession.web.searches import LOOKED_AT

if TYPE_CHECKING:
    from procession.web.views import Source

PAGE = 50
"""Jobs on one page."""
TABS = (
    State.QUEUED, State.DELAYED, State.BLOCKED, State.RUNNING, State.PROCESSED, State.FAILED, State.CANCELLED,
)  # fmt: skip


class JobRow(Struct, frozen=True):
    """One job of a list."""

    key: str
    job: Job


class Tab(Struct, frozen=True):
    """One state and how many jobs are in it; finished ones as far as they are kept."""

    key: str
    count: int
    current: bool
    filter: str


class Further(Struct, frozen=True):
    """Where the list goes on behind its last row."""

    key: str
    state: State | None
    filter: str
    cursor: str


class Trouble(Struct, frozen=True):
    """Why a filter cannot be read: its text before the token that offends, the token, the text after, and words."""

    before: str
    token: str
    after: str
    says: str


class Jobs(Struct, frozen=True, kw_only=True):
    """One page of jobs."""

    at: int
    state: State | None
    """None: jobs of every state, through a filter."""
    filter: str
    cursor: str
    tabs: tuple[Tab, ...]
    jobs: tuple[JobRow, ...]
    next: str | None
    scanned: int
    """How many jobs were looked at, with a filter."""
    trouble: Trouble | None = None

    @property
    def further(self) -> tuple[Further, ...]:
        """The link that changes with the rows; nothing while none was found, where the page looks on by itself."""
        if not self.next or not self.jobs:
            return ()
        return (Further(self.jobs[-1].key, self.state, self.filter, self.next),)


async def load_jobs(source: Source, params: Mapping[str, str]) -> Jobs:
    """See `Jobs`. Raises ConfigError for a state that there is not, or a cursor that is none.

    Without a state and a filter it shows what failed; with a filter and no state, every state. `queue` and `name` stand
    for `queue:` and `job:` in the filter.
    """
    text = filter_of(params)
    state = state_of(params.get("state", ""), text)
    app, now, trouble, page, scanned = source.app, wall(), None, Page([], None), 0
    cursor = params.get("cursor") or None
    counts = await app.ask_async(app.database.counts())
    if state is not None and not text.strip():
        page = await app.ask_async(app.database.page(Query(state=state), cursor=cursor, limit=PAGE))
    else:
        try:
            tree = within(state, parse(text))
            if source.searches is None:
                found = await app.search_async(tree, cursor=cursor, limit=PAGE, most=LOOKED_AT)
            else:
                found = await source.searches.found(app, tree, cursor, PAGE, counts)
            page, scanned = Page(found.jobs, found.cursor), found.scanned
        except FilterError as error:
            trouble = marked(text, error)
    source.meter.take(now, counts)
    return Jobs(
        at=now,
        state=state,
        filter=text,
        cursor=cursor or "",
        tabs=tuple(Tab(it.value, count_of(counts, it), it is state, text) for it in TABS),
        jobs=rows_of(page.jobs),
        next=page.cursor,
        scanned=scanned,
        trouble=trouble,
    )


def filter_of(params: Mapping[str, str]) -> str:
    """The filter that an address asks for."""
    terms = [str(Term(key, (params[name],))) for name, key in (("queue", "queue"), ("name", "job")) if params.get(name)]
    return " ".join([*terms, params.get("q", "")]).strip() if terms else params.get("q", "")


def state_of(asked: str, text: str) -> State | None:
    """The state that an address asks for; None for all, through a filter. Raises ConfigError."""
    if not asked and text.strip():
        return None
    try:
        return State(asked or State.FAILED)
    except ValueError:
        raise ConfigError(f"state must be one of {', '.join(State)}") from None


def within(state: State | None, tree: Filter) -> Filter:
    """A filter, for jobs of one state."""
    return tree if state is None else Every((Term("state", (state.value,)), tree))


def marked(text: str, error: FilterError) -> Trouble:
    """The text of a filter, cut at the token that offends."""
    end = error.position + len(error.token)
    says = str(error).partition("): ")[2]
    return Trouble(text[: error.position], text[error.position : end], text[end:], f"{says[:1].upper()}{says[1:]}.")


def count_of(counts: Counts, state: State) -> int:
    """How many jobs are in a state now, as far as they are kept."""
    found: int = getattr(counts, f"kept_{state}" if state.final else state.value)
    return found


def rows_of(jobs: Sequence[Job]) -> tuple[JobRow, ...]:
    """Jobs as rows."""
    return tuple(JobRow(str(job.jid), job) for job in jobs)
