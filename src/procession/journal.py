"""Reading what jobs said while they ran: `app.log`. A part of `Procession` (`client.py`), each verb beside its twin."""

from __future__ import annotations

from uuid import UUID

from procession.asker import Asker
from procession.job import parse_jid
from procession.notes import LogLine


class Journal(Asker):
    """The verbs about log lines."""

    def log(self, jid: str | UUID, attempt: int | None = None, after: int = 0) -> list[LogLine]:
        """The log lines of a job, oldest first: at most the newest 2,000 and 256 kB of all its attempts.

        Args:
            attempt: only the lines of this one. Attempts of a job that was retried by hand count from 1 again.
            after: only lines whose `index` is greater; to follow a job, pass the last one that you have seen.

        Returns:
            Nothing for a job that said nothing, or is not there.
        """
        return _of(self.ask(self.database.log(parse_jid(jid), after)), attempt)

    async def log_async(self, jid: str | UUID, attempt: int | None = None, after: int = 0) -> list[LogLine]:
        """See `log`."""
        return _of(await self.ask_async(self.database.log(parse_jid(jid), after)), attempt)


def _of(lines: list[LogLine], attempt: int | None) -> list[LogLine]:
    return lines if attempt is None else [line for line in lines if line.attempt == attempt]
