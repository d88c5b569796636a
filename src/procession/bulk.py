"""Retry, cancel or remove every job that a filter lets through, in bounded steps that can be watched and stopped.

`app.bulk(verb, filter)` makes a `Bulk`; nothing is asked or changed before `preview` or `step`. The command line and
the pages step through it. What finds the jobs is `search.py`; what changes them are the store's own verbs, which leave
alone a job that has moved meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal, cast, get_args
from uuid import UUID

import msgspec
from msgspec import Struct

from procession.database import Database, Operation, Walk
from procession.errors import ConfigError
from procession.job import FINAL, Job, State
from procession.matching import matcher, since
from procession.query import Every, Filter, Term
from procession.search import TRIP, Found, search

Verb = Literal["retry", "cancel", "remove"]
SAMPLES = 5
"""How many jobs a preview shows."""
COUNTED = 20_000
"""Up to how many jobs a preview looks at."""

APPLIES: dict[Verb, frozenset[State]] = {
    "retry": FINAL,
    "cancel": frozenset(State) - FINAL,
    "remove": frozenset(State) - {State.RUNNING},
}
"""The states in which a verb changes a job."""


class Preview(Struct, frozen=True, kw_only=True):
    """What a bulk would change."""

    count: int
    exact: bool
    """False when there may be more: 20,000 jobs were looked at and not all seen."""
    names: dict[str, int]
    """How many of each job name, most first."""
    samples: tuple[Job, ...]
    """Five jobs at most."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a bulk is."""

    changed: int = 0
    scanned: int = 0
    done: bool = False
    stopped: bool = False


class _Place(Struct, frozen=True, array_like=True):
    """What one step leaves to the next."""

    as_of: int | None
    cursor: str | None
    changed_in_pass: bool
    changed: int
    scanned: int
    done: bool


class Bulk:
    """One verb for the jobs that a filter lets through, as they were at one moment.

    A job that became what it is (finished, began to run, was enqueued) after `as_of` is left alone: a job that fails
    again while it is being retried is not retried a second time. One step changes at most 500 jobs in one trip, and
    looks at no more than a search does. Not for several threads at once.
    """

    def __init__(
        self,
        database: Database,
        ask: Callable[[Walk[Any]], Any],
        ask_async: Callable[[Walk[Any]], Coroutine[Any, Any, Any]],
        verb: Verb,
        tree: Filter,
        as_of: int | None,
        place: str | None = None,
    ) -> None:
        if verb not in get_args(Verb):
            raise ConfigError(f"no bulk {verb!r}; it is one of {', '.join(get_args(Verb))}")
        self.verb: Verb = verb
        self.filter = tree
        self.as_of = as_of
        """The moment by the store's clock, milliseconds since the epoch; None until it is first asked."""
        self.progress = Progress()
        self._database = database
        self._ask = ask
        self._ask_async = ask_async
        open_to = Term("state", tuple(sorted(it.value for it in APPLIES[verb])))
        self._wanted = Every((tree, open_to))
        self._cursor: str | None = None
        self._changed_in_pass = False
        if place is not None:
            it = _placed(place)
            self.as_of, self._cursor, self._changed_in_pass = it.as_of, it.cursor, it.changed_in_pass
            self.progress = Progress(changed=it.changed, scanned=it.scanned, done=it.done)

    @property
    def place(self) -> str:
        """Where it stands, as text: `app.bulk(verb, filter, place=…)` goes on from there, in another process, too."""
        it = self.progress
        stands = _Place(self.as_of, self._cursor, self._changed_in_pass, it.changed, it.scanned, it.done)
        return msgspec.json.encode(stands).hex()

    def preview(self, most: int | None = None) -> Preview:
        """Count what would be changed, by name and with samples, within `most` jobs looked at, 20,000 by default."""
        return cast("Preview", self._ask(self._previewed(most or COUNTED)))

    async def preview_async(self, most: int | None = None) -> Preview:
        """See `preview`."""
        return cast("Preview", await self._ask_async(self._previewed(most or COUNTED)))

    def step(self) -> Progress:
        """Change the next jobs, 500 at most. Once `done` or `stopped` it changes nothing more."""
        return cast("Progress", self._ask(self._stepped()))

    async def step_async(self) -> Progress:
        """See `step`."""
        return cast("Progress", await self._ask_async(self._stepped()))

    def stop(self) -> Progress:
        """Change nothing more. What was changed stays changed."""
        self.progress = Progress(changed=self.progress.changed, scanned=self.progress.scanned, stopped=True)
        return self.progress

    def __iter__(self) -> Iterator[Progress]:
        """Step until it is done or stopped."""
        while not (self.progress.done or self.progress.stopped):
            yield self.step()

    def _meant(self, as_of: int) -> Callable[[Job], bool]:
        """Exactly the jobs that are meant: by the filter as of the moment, and not changed since."""
        test = matcher(self._wanted, as_of)

        def meant(job: Job) -> bool:
            asked = self.verb == "cancel" and job.cancel_asked
            return not asked and since(job) <= as_of and test(job)

        return meant

    def _begun(self) -> Walk[Callable[[Job], bool]]:
        if self.as_of is None:
            self.as_of = yield (self._database.clock(),)
        return self._meant(self.as_of)

    def _previewed(self, most: int) -> Walk[Preview]:
        meant = yield from self._begun()
        names: Counter[str] = Counter()
        samples: list[Job] = []
        cursor, scanned = None, 0
        while True:
            left = most - scanned
            found: Found = yield from search(self._database, self._wanted, cursor, TRIP, now=self.as_of, most=left)
            jobs = [job for job in found.jobs if meant(job)]
            names.update(job.name or "(undecodable)" for job in jobs)
            samples += jobs[: SAMPLES - len(samples)]
            cursor, scanned = found.cursor, scanned + found.scanned
            if cursor is None or scanned >= most:
                counted = dict(names.most_common())
                count = sum(counted.values())
                return Preview(count=count, exact=cursor is None, names=counted, samples=tuple(samples))

    def _stepped(self) -> Walk[Progress]:
        if self.progress.done or self.progress.stopped:
            return self.progress
        meant = yield from self._begun()
        found: Found = yield from search(self._database, self._wanted, self._cursor, TRIP, now=self.as_of)
        if self.progress.stopped:  # meanwhile, by another task
            return self.progress
        jids = [job.jid for job in found.jobs if meant(job)]
        states = (yield (self._change(jids),)) if jids else []
        changed = sum(state in APPLIES[self.verb] for state in states)
        self._changed_in_pass |= changed > 0
        self._cursor = found.cursor
        # Jobs that leave a list may move the rest of it past a cursor: only a pass that changes nothing is the last.
        done = found.cursor is None and not self._changed_in_pass
        if found.cursor is None:
            self._changed_in_pass = False
        self.progress = Progress(
            changed=self.progress.changed + changed,
            scanned=self.progress.scanned + found.scanned,
            done=done,
            stopped=self.progress.stopped,
        )
        return self.progress

    def _change(self, jids: list[UUID]) -> Operation[list[State | None]]:
        if self.verb == "retry":
            return self._database.retry(jids)
        return self._database.cancel(jids) if self.verb == "cancel" else self._database.remove(jids)


def _placed(place: str) -> _Place:
    try:
        return msgspec.json.decode(bytes.fromhex(place), type=_Place)
    except (ValueError, msgspec.MsgspecError):
        raise ConfigError(f"place {place[:40]!r} is not that of a bulk; begin it anew") from None
