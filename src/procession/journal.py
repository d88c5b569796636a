"""Reading what jobs said while they ran: `app.log`. A part of `Procession` (`client.py`), each verb beside its twin."""

from __future__ import annotations

from uuid import UUID

from msgspec.structs import replace

from procession.asker import Asker
from procession.job import parse_jid
from procession.notes import LogLine
from procession.sealing import Sealing, shown


class Journal(Asker):
    """The verbs about log lines."""

    def log(self, jid: str | UUID, attempt: int | None = None, after: int = 0) -> list[LogLine]:
        """The log lines of a job, oldest first: at most the newest 2,000 and 256 kB of all its attempts.

        Args:
            attempt: only the lines of this one. Attempts of a job that was retried by hand count from 1 again.
            after: only lines whose `index` is greater; to follow a job, pass the last one that you have seen.

        Returns:
            Nothing for a job that said nothing, or is not there. `(sealed)` is the text of a line that the app's codec
            chain sealed and that cannot be opened here.
        """
        its = parse_jid(jid)
        return _of(self.ask(self.database.log(its, after)), attempt, its, self.registry.policies.sealing)

    async def log_async(self, jid: str | UUID, attempt: int | None = None, after: int = 0) -> list[LogLine]:
        """See `log`."""
        its = parse_jid(jid)
        return _of(await self.ask_async(self.database.log(its, after)), attempt, its, self.registry.policies.sealing)


def _of(lines: list[LogLine], attempt: int | None, jid: UUID, sealing: Sealing | None) -> list[LogLine]:
    wanted = lines if attempt is None else [line for line in lines if line.attempt == attempt]
    return [replace(it, text=shown(it.text, jid, "log", sealing)) for it in wanted]
