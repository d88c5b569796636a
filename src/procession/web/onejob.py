"""The page of one job: its course, why it is where it is, how far it is, and what each attempt said.

Loaded by `views.py`. Each look reads the job, the facts behind `app.why` and the job's lines, so it costs the same for
every job: at most five trips, and two once it is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from procession.clock import wall
from procession.errors import ConfigError, JobNotFound
from procession.job import Job
from procession.notes import LogLine
from procession.web.timeline import Timeline, timeline
from procession.why import Facts, explain

if TYPE_CHECKING:
    from procession.client import Procession
    from procession.web.views import Source

LINES = 500
"""Log lines that the page shows, the newest; `app.log` has up to 2,000."""


class JobParts(Struct, frozen=True, kw_only=True):
    """One job and its course; `job` is None once it is gone."""

    key: str
    job: Job | None
    timeline: Timeline | None
    why: str
    """Why it is where it is, in a sentence or two; "" once it is gone."""
    at: int


class LogRow(Struct, frozen=True, kw_only=True):
    """One log line; `first` is true where another attempt begins to speak."""

    key: str
    line: LogLine
    first: bool


class OneJob(Struct, frozen=True, kw_only=True):
    """See above."""

    at: int
    jid: UUID
    parts: tuple[JobParts]
    lines: tuple[LogRow, ...]


async def load_job(source: Source, params: Mapping[str, str]) -> OneJob:
    """See `OneJob`. Raises ConfigError for what is no jid."""
    try:
        jid = UUID(params.get("jid", ""))
    except ValueError:
        raise ConfigError(f"{params.get('jid', '')!r} is not a jid") from None
    app, now = source.app, wall()
    job, lines = await asyncio.gather(app.find_job_async(jid), app.log_async(jid))
    why = await _why(app, job, now) if job else ""
    part = JobParts(key="it", job=job, timeline=timeline(job) if job else None, why=why, at=now)
    return OneJob(at=now, jid=jid, parts=(part,), lines=_rows(lines[-LINES:]))


async def _why(app: Procession, job: Job, now: int) -> str:
    if job.state.final:  # follows from the job alone
        return explain(job, Facts(now=now)).text
    try:
        return (await app.why_async(job.jid)).text
    except JobNotFound:
        return ""


def _rows(lines: Sequence[LogLine]) -> tuple[LogRow, ...]:
    before = [0, *(line.attempt for line in lines)]
    return tuple(
        LogRow(key=str(line.index), line=line, first=line.attempt != last)
        for line, last in zip(lines, before, strict=False)
    )
