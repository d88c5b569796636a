"""The connection for sync callers: any thread may use it, each question on a line of its own out of a small pool.

A question goes over a line that is there; what is said and put again otherwise is decided by the conversations in
`asking.py`, whose steps are taken here, within the budget. After a doubt, and in the child of a fork, the pool is
another one: no line of the old is used again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from procession.clock import Deadline
from procession.database.operation import Durability
from procession.database.redis.aside import aside
from procession.database.redis.asking import SLACK, First, answers, asking, is_ordinary, of_bells, rung
from procession.database.redis.line import Line
from procession.database.redis.steps import Aside, Exchange, Open, Question, Slot, Talk
from procession.database.redis.target import Target
from procession.database.redis.wire import addresses, needs_look_up, tls_context
from procession.errors import Unavailable

T = TypeVar("T")

IDLE = 16
"""Most idle lines that are kept."""


class Pool:
    """Idle lines of one process, since the last doubt."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lines: deque[Line] = deque()

    def take(self) -> Line | None:
        """An idle line, the last used first."""
        try:
            return self.lines.pop()
        except IndexError:
            return None

    def close(self) -> None:
        """Close what is idle."""
        while (line := self.take()) is not None:
            line.close()


class RedisConnection:
    """See `Connection`."""

    def __init__(self, target: Target, budget: float) -> None:
        self._target = target
        self._budget = budget
        self._pool = Pool()

    def ask(self, *operations: Any, durability: Durability = "memory") -> Any:
        """See `Connection.ask`."""
        questions = [it.question(self._target.tag) for it in operations]
        return answers(operations, self._trip(questions, durability=durability), self._target)

    def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `Connection.wait`."""
        return self.wait_then_ask(bells, timeout)[0]

    def wait_then_ask(self, bells: Sequence[str], timeout: float, *then: Any) -> tuple[str | None, Any]:
        """See `Connection.wait_then_ask`."""
        tag = self._target.tag
        questions = [of_bells(bells, timeout, tag), *(operation.question(tag) for operation in then)]
        replies = self._trip(questions, seconds=timeout + SLACK)
        return rung(replies[0], self._target), answers(then, replies[1:], self._target)

    def close(self) -> None:
        """See `Connection.close`."""
        pool, self._pool = self._pool, Pool()
        pool.close()

    def _trip(
        self, questions: list[Question], *, durability: Durability = "memory", seconds: float | None = None
    ) -> list[Any]:
        if self._pool.pid != os.getpid():
            self.close()  # closes this process's copies of the sockets; the parent's lines go on
        pool = self._pool
        slot: Slot = Slot(pool.take())
        deadline = Deadline(self._budget)
        try:
            return self._replies(slot, questions, deadline, durability, seconds)
        except Unavailable:
            if pool is self._pool:
                self._pool = Pool()
            pool.close()
            raise
        finally:
            line: Any = slot.line
            if line is not None and pool is self._pool and len(pool.lines) < IDLE:
                pool.lines.append(line)
            elif line is not None:
                line.close()

    def _replies(
        self, slot: Slot, questions: list[Question], deadline: Deadline, durability: Durability, seconds: float | None
    ) -> list[Any]:
        """Put at once what there is a line for. Whatever comes of it but ordinary answers is for the conversation."""
        first: First = None
        line: Any = slot.ready() if durability == "memory" else None
        if line is not None:
            own = deadline if seconds is None else Deadline(seconds)
            try:
                replies: list[Any] = line.exchange([it.first for it in questions], own)
                if is_ordinary(replies):
                    return replies
                first = replies
            except BaseException as error:
                first = error
        talk = asking(self._target, slot, questions, deadline, durability=durability, seconds=seconds, first=first)
        return _conducted(talk, deadline)


def _conducted(talk: Talk[T], deadline: Deadline) -> T:
    """Take the steps of a conversation; what goes wrong is told to it."""
    try:
        step = next(talk)
        while True:
            try:
                match step:
                    case Exchange(line, commands, seconds):
                        came = line.exchange(commands, deadline if seconds is None else Deadline(seconds))
                    case Aside():
                        came = _aside(step, deadline)
                    case Open():
                        came = _opened(step, deadline)
            except BaseException as error:
                step = talk.throw(error)
            else:
                step = talk.send(came)
    except StopIteration as end:
        answer: T = end.value
        return answer


def _aside(step: Aside, deadline: Deadline) -> Any:
    if not step.untimed:
        return aside(step.key, step.call).result(deadline.left())
    with deadline.paused():
        return step.call()


def _opened(step: Open, deadline: Deadline) -> Line:
    place, tls, part = step.place, step.tls, Deadline(deadline.left() / step.parts)
    look_up = partial(addresses, place)
    found = aside(place, look_up).result(part.left()) if needs_look_up(place) else look_up()
    context = aside(tls, partial(tls_context, tls)).result(part.left()) if tls else None
    return Line.open(place, found, context, part)
