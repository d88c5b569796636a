"""Asking after jobs by what they are: search, bulk changes on a filter, and why a job waits.

`Procession` is this and more (`client.py`). What thinks are the generators in `search.py`, `bulk.py` and `why.py`; a
verb here only asks their questions, beside its `_async` twin.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from procession.asker import Asker
from procession.bulk import Bulk, Verb
from procession.clock import instant
from procession.job import parse_jid
from procession.query import Filter
from procession.search import Found, Steps, read, search
from procession.why import Why, why

T = TypeVar("T")


class Inquiry(Asker):
    """The verbs that ask after jobs."""

    def search(self, text: Filter | str = "", *, cursor: str | None = None, limit: int = 50) -> Found:
        """Jobs that a filter lets through (docs/finding.md), at most `limit` (up to 1,000) of them.

        One call looks at 20,000 jobs at most and begins no trip after 250 ms; `cursor` of what it returns goes on
        from there, and is None once everything was looked at.

        Raises:
            FilterError: the filter cannot be read; it says where, and what would be right.
        """
        return self._conducted(search(self.database, text, cursor, limit))

    async def search_async(self, text: Filter | str = "", *, cursor: str | None = None, limit: int = 50) -> Found:
        """See `search`."""
        return await self._conducted_async(search(self.database, text, cursor, limit))

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
        moment = None if as_of is None else instant(as_of, "as_of")
        return Bulk(self.database, self._conducted, self._conducted_async, verb, read(text), moment, place)

    def why(self, jid: str | UUID) -> Why:
        """Why a job is where it is, in plain words, and what to do about it. Two trips.

        Raises:
            JobNotFound: no job has this id.
        """
        return self._conducted(why(self.database, parse_jid(jid)))

    async def why_async(self, jid: str | UUID) -> Why:
        """See `why`."""
        return await self._conducted_async(why(self.database, parse_jid(jid)))

    def _conducted(self, steps: Steps[T]) -> T:
        answer: Any = None
        while True:
            try:
                questions: Any = steps.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = self.connection().ask(*questions)

    async def _conducted_async(self, steps: Steps[T]) -> T:
        answer: Any = None
        while True:
            try:
                questions: Any = steps.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = await self.connection_async().ask(*questions)
