"""Out of the store by id: `find_job` and `remove`, the brief's Dequeuer.

Pure. What a queue worker takes out is claimed in `runtime/`.
"""

from __future__ import annotations

from uuid import UUID

from procession.database import Database, Operation
from procession.job import Job, State, parse_jid


class Dequeuer:
    """Builds the questions about single jobs. Each is O(1): no queue is searched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_job(self, jid: str | UUID) -> Operation[list[Job | None]]:
        """The job as it is stored now."""
        return self._database.find([parse_jid(jid)])

    def remove(self, jid: str | UUID) -> Operation[list[State | None]]:
        """Forget a job that is not running."""
        return self._database.remove([parse_jid(jid)])
