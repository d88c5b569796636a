"""Which job a log line belongs to, as fields: a filter for `logging`, a processor for structlog. Needs no package.

Both look at the running job's context, so they hold for whatever a job calls, awaits, or hands to `asyncio.to_thread`.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from procession.context import CURRENT


def fields() -> dict[str, Any]:
    """`jid`, `job`, `queue`, `attempt` of the job that runs here; empty outside one."""
    job = CURRENT.get()
    if job is None:
        return {}
    return {"jid": str(job.jid), "job": job.name, "queue": job.queue, "attempt": job.attempt}


class JobFields(logging.Filter):
    """Gives each record `jid`, `job`, `queue` and `attempt`: put it on a handler, and name them in its format. Outside
    a job they are empty, so that a format may name them always; what a record has already (`extra=`) stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        for name, value in ({"jid": "", "job": "", "queue": "", "attempt": ""} | fields()).items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def add_job(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: adds the fields inside a job. What the call names itself stays."""
    for name, value in fields().items():
        event.setdefault(name, value)
    return event
