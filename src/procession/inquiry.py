"""Asking after jobs by what they are: search, bulk changes on a filter, does the code fit them, and why a job waits.

`Procession` is this and more (`client.py`). What thinks are the generators in `search.py`, `bulk.py`, `check.py`,
`why.py`; a verb here only asks their questions, beside its `_async` twin. They are imported by the verbs: a program
that only enqueues starts 5 ms sooner without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from procession.asker import Asker
from procession.clock import instant
from procession.job import parse_jid
from procession.serving import shares_of

if TYPE_CHECKING:
    from datetime import datetime

    from procession.bulk import Bulk, Verb
    from procession.check import Checked
    from procession.database import Walk
    from procession.query import Filter
    from procession.search import Found
    from procession.why import Why

CHECKED = 10_000
"""Jobs of each state that `check` looks at by default: those that run, or are looked at, first."""


class Inquiry(Asker):
    """The verbs that ask after jobs."""

    def search(
        self, text: Filter | str = "", *, cursor: str | None = None, limit: int = 50, most: int | None = None
    ) -> Found:
        """Jobs that a filter lets through (docs/finding.md), at most `limit` (up to 1,000) of them.

        One call looks at 20,000 jobs at most (or about `most`) and begins no trip after 250 ms; `cursor` of what it
        returns goes on from there, and is None once everything was looked at.

        Raises:
            FilterError: the filter cannot be read; it says where, and what would be right.
        """
        from procession.search import search

        return self.walk(search(self.database, text, cursor, limit, most=most))

    async def search_async(
        self, text: Filter | str = "", *, cursor: str | None = None, limit: int = 50, most: int | None = None
    ) -> Found:
        """See `search`."""
        from procession.search import search

        return await self.walk_async(search(self.database, text, cursor, limit, most=most))

    def bulk(
        self, verb: Verb, text: Filter | str, *, as_of: datetime | None = None, place: str | None = None
    ) -> Bulk:
        """Retry, cancel or remove every job that a filter lets through. Asks nothing yet: see `Bulk`.

        Args:
            as_of: jobs that became what they are after this moment are left alone; by default the moment of the first
                question, by the store's clock.
            place: where another `Bulk` of the same verb and filter stood, to go on from there.

        Raises:
            FilterError: the filter cannot be read.
        """
        from procession.bulk import Bulk
        from procession.search import read

        moment = None if as_of is None else instant(as_of, "as_of")
        return Bulk(self.database, self.walk, self.walk_async, verb, read(text), moment, place)

    def check(self, *, queues: Sequence[str] = (), limit: int | None = CHECKED) -> Checked:
        """Compare this app's code with the jobs and schedules in the store, as before a deploy. Changes nothing.

        Args:
            queues: those that the workers to come will serve, as they are told: "mail", or "mail:3" with a share; by
                default those of the settings, else every queue that a job of this app names.
            limit: most jobs of each state that are looked at; None for all.

        Raises:
            ConfigError: a queue that cannot be, or a limit below 1.
        """
        return self.walk(self._check(queues, limit))

    async def check_async(self, *, queues: Sequence[str] = (), limit: int | None = CHECKED) -> Checked:
        """See `check`."""
        return await self.walk_async(self._check(queues, limit))

    def _check(self, queues: Sequence[str], limit: int | None) -> Walk[Checked]:
        from procession.check import check

        served = shares_of(queues or self.settings.queues or self.registry.queues())
        return check(self.database, self.registry, self.schedules.declared, queues=[*served], limit=limit)

    def why(self, jid: str | UUID) -> Why:
        """Why a job is where it is, in plain words, and what to do about it. Two trips, three for a job
        that is blocked.

        Raises:
            JobNotFound: no job has this id.
        """
        from procession.why import why

        return self.walk(why(self.database, parse_jid(jid)))

    async def why_async(self, jid: str | UUID) -> Why:
        """See `why`."""
        from procession.why import why

        return await self.walk_async(why(self.database, parse_jid(jid)))
