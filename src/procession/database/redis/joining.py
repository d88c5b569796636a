"""One trip for many callers of one event loop: what each asked goes out together, what comes back is handed out.

Enqueues of callers who do not know of each other are joined into one call of the script: a thousand of one job each
would cost the server ten times what one of a thousand does. The script is atomic, so all of a joint call are stored, or
all are refused. Called by `connection_async.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from procession.database.redis.operation import Enqueue
from procession.database.redis.steps import Question, error_in

MOST = 1_000
"""Most jobs of one joint call."""


class Asked(Struct, frozen=True):
    """What one caller waits for: a reply for each operation."""

    operations: Sequence[Any]
    future: asyncio.Future[list[Any]]

    @property
    def enqueue(self) -> Enqueue | None:
        """The operation, if it is one enqueue and nothing else: it may be joined with others."""
        first = self.operations[0]
        return first if len(self.operations) == 1 and isinstance(first, Enqueue) else None


class Trip:
    """The questions of several callers, and who gets which reply."""

    def __init__(self, asked: Sequence[Asked], tag: str) -> None:
        self.questions: list[Question] = []
        self._apart: list[tuple[Asked, int]] = []
        self._joint: list[tuple[list[tuple[Asked, int]], int]] = []
        joinable: list[tuple[Asked, Enqueue]] = []
        for it in asked:
            if (enqueue := it.enqueue) is not None:
                joinable.append((it, enqueue))
            else:
                self._apart.append((it, len(self.questions)))
                self.questions += [operation.question(tag) for operation in it.operations]
        for group in _groups(joinable):
            jobs = [job for _, enqueue in group for job in enqueue.jobs]
            self._joint.append(([(it, len(enqueue.jobs)) for it, enqueue in group], len(self.questions)))
            self.questions.append(Enqueue(group[0][1].now, jobs).question(tag))

    def hand_out(self, replies: list[Any]) -> None:
        """Give each caller what belongs to it."""
        for it, at in self._apart:
            _give(it, replies[at : at + len(it.operations)])
        for group, number in self._joint:
            reply, at = replies[number], 0
            refused = error_in(reply) is not None
            for it, count in group:
                _give(it, [reply if refused else reply[at : at + count]])
                at += count


def _give(asked: Asked, replies: list[Any]) -> None:
    if not asked.future.done():
        asked.future.set_result(replies)


def _groups(joinable: Sequence[tuple[Asked, Enqueue]]) -> list[list[tuple[Asked, Enqueue]]]:
    groups: list[list[tuple[Asked, Enqueue]]] = []
    count = MOST
    for it, enqueue in joinable:
        jobs = len(enqueue.jobs)
        if not groups or count + jobs > MOST:
            groups.append([])
            count = 0
        groups[-1].append((it, enqueue))
        count += jobs
    return groups
