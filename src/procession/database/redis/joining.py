"""One trip for many callers of one event loop: what each asked goes out together, what comes back is handed out.

Enqueues of callers who do not know of each other are joined into one call of the script: a thousand of one job each
would cost the server ten times what one of a thousand does. The script is atomic, so all of a joint call are stored, or
all are refused. Called by `connection_async.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from procession.database.redis.asking import of_script
from procession.database.redis.records import enqueue_arguments
from procession.database.redis.scripts import Script
from procession.database.redis.steps import Question, error_in
from procession.job import NewJob

MOST = 1_000
"""Most jobs of one joint call."""


class Jobs(NamedTuple):
    """An enqueue that may be joined with others."""

    script: Script
    now: int
    jobs: Sequence[NewJob]


class Asked(NamedTuple):
    """What one caller waits for."""

    questions: list[Question]
    jobs: Jobs | None
    """The same as its one question, if that is an enqueue."""
    future: asyncio.Future[list[Any]]


class Trip:
    """The questions of several callers, and who gets which reply."""

    def __init__(self, asked: Sequence[Asked], tag: str) -> None:
        self.questions: list[Question] = []
        self._apart: list[tuple[Asked, int]] = []
        self._joint: list[tuple[list[Asked], int]] = []
        joinable = [it for it in asked if it.jobs is not None]
        for it in asked if len(joinable) < 2 else [it for it in asked if it.jobs is None]:
            self._apart.append((it, len(self.questions)))
            self.questions += it.questions
        for group in _groups(joinable) if len(joinable) > 1 else ():
            jobs = [job for it in group if it.jobs is not None for job in it.jobs.jobs]
            first = group[0].jobs
            assert first is not None
            self._joint.append((group, len(self.questions)))
            self.questions.append(of_script(first.script, [first.now, *enqueue_arguments(jobs)], tag))

    def hand_out(self, replies: list[Any]) -> None:
        """Give each caller what belongs to it."""
        for it, at in self._apart:
            _give(it, replies[at : at + len(it.questions)])
        for group, number in self._joint:
            reply, at = replies[number], 0
            for it in group:
                count = len(it.jobs.jobs) if it.jobs is not None else 0
                _give(it, [reply if error_in(reply) is not None else reply[at : at + count]])
                at += count


def _give(asked: Asked, replies: list[Any]) -> None:
    if not asked.future.done():
        asked.future.set_result(replies)


def _groups(asked: Sequence[Asked]) -> list[list[Asked]]:
    groups: list[list[Asked]] = []
    count = MOST
    for it in asked:
        jobs = len(it.jobs.jobs) if it.jobs is not None else 0
        if not groups or count + jobs > MOST:
            groups.append([])
            count = 0
        groups[-1].append(it)
        count += jobs
    return groups
