"""The connection for an event loop: callers that ask while a trip is under way share the next one.

What is said and put again is decided by the conversations in `asking.py`; here their steps are taken, within the
budget. Each durability travels on a line of its own, so that nobody waits for the disk of another, and so do bells.
On another loop, and in the child of a fork, everything is made anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, TypeVar

from procession.clock import Deadline
from procession.database.operation import Durability
from procession.database.redis.aside import aside
from procession.database.redis.asking import SLACK, answers, asking, of_bells, rung
from procession.database.redis.joining import Asked, Trip
from procession.database.redis.line_async import AsyncLine
from procession.database.redis.replies import unavailable
from procession.database.redis.steps import Aside, Exchange, Open, Question, Slot, Talk
from procession.database.redis.target import Target
from procession.database.redis.wire import addresses, needs_look_up, tls_context
from procession.errors import Unavailable

T = TypeVar("T")


class Trips:
    """A line, and who waits for the next trip over it."""

    def __init__(self, target: Target, budget: float, durability: Durability) -> None:
        self.slot = Slot()
        self._target = target
        self._budget = budget
        self._durability: Durability = durability
        self._waiting: list[Asked] = []
        self._task: asyncio.Task[None] | None = None
        self._alone = False
        self._closing = False

    @property
    def is_idle(self) -> bool:
        """True when nobody waits."""
        return not self._alone and (self._task is None or self._task.done())

    def ask(self, operations: Sequence[Any]) -> Awaitable[list[Any]]:
        """The replies of the next trip to these operations, to be awaited at once. Where none is under way, the caller
        makes it, and does not wait until the loop has had its turn with all else."""
        if self.is_idle:
            return self._travel_alone([it.question(self._target.tag) for it in operations])
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Asked(operations, future))
        return future

    async def close(self) -> None:
        """End the trip under way and give the line back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._closing = self._alone
        self.slot.drop()

    async def _travel_alone(self, questions: list[Question]) -> list[Any]:
        self._alone, deadline, answered = True, Deadline(self._budget), False
        try:
            replies = await _conducted(self._talk(questions, deadline), deadline)
            answered = True
        finally:
            self._alone = False
            if self._closing:
                self._closing = False
                self.slot.drop()
            if self._waiting:
                self._task = asyncio.ensure_future(self._travel(Deadline(self._budget) if answered else deadline))
        return replies

    def _talk(self, questions: list[Question], deadline: Deadline) -> Talk[list[Any]]:
        return asking(self._target, self.slot, questions, deadline, durability=self._durability)

    async def _travel(self, deadline: Deadline) -> None:
        """Make trips while somebody waits. After one without an answer the next has what is left of its time: so nobody
        waits longer than the budget."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                trip = Trip(batch, self._target.tag)
                replies = await _conducted(self._talk(trip.questions, deadline), deadline)
            except BaseException as error:
                stranded = batch if isinstance(error, Exception) else [*batch, *self._waiting]
                for it in stranded:
                    if not it.future.done():
                        it.future.set_exception(_for_the_caller(error, self._target))
                if not isinstance(error, Exception):
                    raise
                continue
            trip.hand_out(replies)
            deadline = Deadline(self._budget)


class RedisAsyncConnection:
    """See `AsyncConnection`."""

    def __init__(self, target: Target, budget: float) -> None:
        self._target = target
        self._budget = budget
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trips: dict[Durability, Trips] = {}
        self._bells = Slot()

    async def ask(self, *operations: Any, durability: Durability = "memory") -> Any:
        """See `AsyncConnection.ask`."""
        self._make_ours()
        trips = self._trips.get(durability)
        if trips is None:
            trips = self._trips[durability] = Trips(self._target, self._budget, durability)
        try:
            replies = await trips.ask(operations)
        except Unavailable:
            self._doubt()
            raise
        return answers(operations, replies, self._target)

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `AsyncConnection.wait`. One caller at a time."""
        replies = await self._hear(bells, timeout)
        return rung(replies[0], self._target)

    async def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Any) -> tuple[str | None, Any]:
        """See `AsyncConnection.wait_then_ask`."""
        replies = await self._hear(bells, timeout, operation)
        return rung(replies[0], self._target), answers([operation], replies[1:], self._target)

    async def close(self) -> None:
        """See `AsyncConnection.close`."""
        for trips in [*self._trips.values()]:
            await trips.close()
        self._bells.drop()

    async def _hear(self, bells: Sequence[str], timeout: float, *then: Any) -> list[Any]:
        self._make_ours()
        deadline, tag = Deadline(self._budget), self._target.tag
        questions = [of_bells(bells, timeout, tag), *(operation.question(tag) for operation in then)]
        try:
            talk = asking(self._target, self._bells, questions, deadline, seconds=timeout + SLACK)
            return await _conducted(talk, deadline)
        except Unavailable:
            self._doubt()
            raise

    def _make_ours(self) -> None:
        pid, loop = os.getpid(), asyncio.get_running_loop()
        if loop is not self._loop or pid != self._pid:
            self._pid, self._loop, self._trips, self._bells = pid, loop, {}, Slot()

    def _doubt(self) -> None:
        """Throw away every line but those that are on a trip; these find out by themselves."""
        self._bells.drop()
        for trips in self._trips.values():
            if trips.is_idle:
                trips.slot.drop()


def _for_the_caller(error: BaseException, target: Target) -> Exception:
    return error if isinstance(error, Exception) else unavailable(error, target.where, asked=True)


async def _conducted(talk: Talk[T], deadline: Deadline) -> T:
    """Take the steps of a conversation; what goes wrong is told to it."""
    try:
        step = next(talk)
        while True:
            try:
                came = await _taken(step, deadline)
            except BaseException as error:
                step = talk.throw(error)
            else:
                step = talk.send(came)
    except StopIteration as end:
        answer: T = end.value
        return answer


async def _taken(step: Open | Exchange | Aside, deadline: Deadline) -> Any:
    match step:
        case Exchange(line, commands, seconds):
            return await line.exchange(commands, deadline if seconds is None else Deadline(seconds))
        case Aside(key, call, untimed):
            if untimed:
                with deadline.paused():
                    return await asyncio.wrap_future(aside(key, call))
            async with asyncio.timeout(deadline.left()):
                return await asyncio.wrap_future(aside(key, call))
        case Open(place, tls, parts):
            part = Deadline(deadline.left() / parts)
            look_up = partial(addresses, place)
            async with asyncio.timeout(part.left()):
                found = await asyncio.wrap_future(aside(place, look_up)) if needs_look_up(place) else look_up()
                context = await asyncio.wrap_future(aside(tls, partial(tls_context, tls))) if tls else None
            return await AsyncLine.open(place, found, context, part)
