"""One trip for many callers of one event loop: what each asks goes out together, what comes back is handed out.

Enqueues of callers who do not know of each other are joined into one call of the script: a thousand of one job each
would cost the server ten times what one of a thousand does. The script is atomic, so all of a joint call are stored, or
all are refused. Called by `connection_async.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any

from procession.database.redis.asking import answers
from procession.database.redis.operation import Enqueue
from procession.database.redis.steps import Question, error_in
from procession.database.redis.target import Target
from procession.job import NewJob

MOST = 1_000
"""Most jobs of one joint call."""

Answer = asyncio.Future[Any]


class Trip:
    """A trip that callers join until it sets out."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._apart: list[tuple[Sequence[Any], Answer]] = []
        self._joint: list[Joint] = []

    def __bool__(self) -> bool:
        return bool(self._apart or self._joint)

    def join(self, operations: Sequence[Any], future: Answer) -> None:
        """Take in what one caller asks, and where the answer is awaited."""
        first = operations[0]
        if not isinstance(first, Enqueue) or len(operations) > 1:
            self._apart.append((operations, future))
            return
        if not self._joint or len(self._joint[-1].jobs) + len(first.jobs) > MOST:
            self._joint.append(Joint(first.now))
        self._joint[-1].join(first.jobs, future)

    def questions(self) -> list[Question]:
        """What goes out."""
        operations = [operation for operations, _ in self._apart for operation in operations]
        return [it.question(self._target.tag) for it in (*operations, *self._joint)]

    def hand_out(self, replies: Sequence[Any]) -> None:
        """Give all callers what belongs to them."""
        left = iter(replies)
        for operations, future in self._apart:
            self._give(future, operations, [*islice(left, len(operations))])
        for joint, reply in zip(self._joint, left, strict=True):
            if error_in(reply) is None:
                joint.hand_out(reply)
                continue
            for future in joint.futures:
                self._give(future, [joint], [reply])

    def fail(self, error: Exception) -> None:
        """Nobody gets an answer any more."""
        for future in (*(it for _, it in self._apart), *(it for joint in self._joint for it in joint.futures)):
            if not future.done():
                future.set_exception(error)

    def _give(self, future: Answer, operations: Sequence[Any], replies: list[Any]) -> None:
        if future.done():  # its caller was cancelled
            return
        try:
            future.set_result(answers(operations, replies, self._target))
        except Exception as error:
            future.set_exception(error)


class Joint(Enqueue):
    """Enqueues of several callers as one. Of each only jobs and future are kept: callers come by the thousand, and what
    else lived until the answer would be one thing more for the collector to visit."""

    __slots__ = ("counts", "futures")

    jobs: list[NewJob]

    def __init__(self, now: int) -> None:
        super().__init__(now, [])
        self.futures: list[Answer] = []
        self.counts: list[int] = []

    def join(self, jobs: Sequence[NewJob], future: Answer) -> None:
        """Take in the jobs of one caller."""
        self.jobs += jobs
        self.futures.append(future)
        self.counts.append(len(jobs))

    def hand_out(self, reply: list[Any]) -> None:
        """Give all callers the answers to their jobs."""
        stored, at = self.read(reply), 0
        for future, count in zip(self.futures, self.counts, strict=True):
            if not future.done():
                future.set_result(stored[at : at + count])
            at += count
