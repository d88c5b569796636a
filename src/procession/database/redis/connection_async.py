"""The connection for an event loop: callers that ask while a trip is under way share the next one.

A question goes over a line that is there; what is said and put again otherwise is decided by the conversations in
`asking.py`, whose steps are taken here, within the budget. Each durability travels on a line of its own, so that nobody
waits for the disk of another; whoever waits at bells has one alone meanwhile. On another loop, and in the child of a
fork, everything is made anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakMethod

from procession.clock import Deadline
from procession.database.operation import Durability
from procession.database.redis.aside import aside
from procession.database.redis.asking import SLACK, First, answers, asking, is_ordinary, of_bells, rung
from procession.database.redis.joining import Trip
from procession.database.redis.line_async import AsyncLine
from procession.database.redis.replies import unavailable
from procession.database.redis.steps import Aside, Exchange, Open, Question, Slot, Talk
from procession.database.redis.target import Target
from procession.database.redis.wire import addresses, needs_look_up, tls_context
from procession.errors import Unavailable

T = TypeVar("T")

WAITS_KEPT = 8
"""Lines on which nobody waits any more that are kept for who waits next."""


class Trips:
    """A line, and who waits for the next trip over it.

    `doubt` is called when a trip was Unavailable; held weakly, for a ring would keep the line of a loop that ended.
    """

    def __init__(self, target: Target, budget: float, durability: Durability, doubt: Callable[[], None]) -> None:
        self.slot = Slot()
        self._target = target
        self._budget = budget
        self._durability: Durability = durability
        self._doubt = WeakMethod(doubt)
        self._loop = asyncio.get_running_loop()
        self._next = Trip(target)
        self._task: asyncio.Task[None] | None = None
        self._alone = False
        self._closing = False

    @property
    def is_idle(self) -> bool:
        """True when nobody waits."""
        return not self._alone and (self._task is None or self._task.done())

    def ask(self, operations: Sequence[Any]) -> Awaitable[Any]:
        """What the next trip brings these operations. Where none is under way, the caller makes it, and does not wait
        until the loop has had its turn with all else."""
        return self._travel_alone(operations) if self.is_idle else self._join(operations)

    async def close(self) -> None:
        """End the trip under way and give the line back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._closing = self._alone
        self.slot.drop()

    def _join(self, operations: Sequence[Any]) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        self._next.join(operations, future)
        return future

    async def _travel_alone(self, operations: Sequence[Any]) -> Any:
        if not self.is_idle:  # another caller was faster
            return await self._join(operations)
        questions = [it.question(self._target.tag) for it in operations]
        self._alone, deadline, answered = True, Deadline(self._budget), False
        try:
            replies = await _replies(self._target, self.slot, questions, deadline, self._durability)
            answered = True
        except Unavailable:
            self._in_doubt()
            raise
        finally:
            self._alone = False
            if self._closing:
                self._closing = False
                self.slot.drop()
            if self._next:
                self._task = asyncio.ensure_future(self._travel(Deadline(self._budget) if answered else deadline))
        return answers(operations, replies, self._target)

    def _in_doubt(self) -> None:
        if (doubt := self._doubt()) is not None:
            doubt()

    async def _travel(self, deadline: Deadline) -> None:
        """Make trips while somebody waits. After one without an answer the next has what is left of its time: so nobody
        waits longer than the budget."""
        while self._next:
            trip, self._next = self._next, Trip(self._target)
            try:
                questions = trip.questions()
                trip.hand_out(await _replies(self._target, self.slot, questions, deadline, self._durability))
            except Exception as error:
                trip.fail(error)
                if isinstance(error, Unavailable):
                    self._in_doubt()
            except BaseException as error:
                trip.fail(unavailable(error, self._target.where, asked=True))
                self._next.fail(unavailable(error, self._target.where, asked=False))  # it never set out, and never will
                self._next = Trip(self._target)
                raise
            else:
                deadline = Deadline(self._budget)


class RedisAsyncConnection:
    """See `AsyncConnection`."""

    def __init__(self, target: Target, budget: float) -> None:
        self._target = target
        self._budget = budget
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trips: dict[Durability, Trips] = {}
        self._bells: list[Slot] = []
        """Lines for waits, of which those where nobody waits are idle, too."""
        self._idle: list[Slot] = []

    def ask(self, *operations: Any, durability: Durability = "memory") -> Awaitable[Any]:
        """See `AsyncConnection.ask`."""
        self._make_ours()
        trips = self._trips.get(durability)
        if trips is None:
            trips = self._trips[durability] = Trips(self._target, self._budget, durability, self._doubt_lines)
        return trips.ask(operations)

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `AsyncConnection.wait`."""
        return (await self.wait_then_ask(bells, timeout))[0]

    async def wait_then_ask(self, bells: Sequence[str], timeout: float, *then: Any) -> tuple[str | None, Any]:
        """See `AsyncConnection.wait_then_ask`."""
        self._make_ours()
        deadline, tag = Deadline(self._budget), self._target.tag
        questions = [of_bells(bells, timeout, tag), *(operation.question(tag) for operation in then)]
        lines, idle = self._bells, self._idle  # those of this loop, also when it ends
        if not idle:
            lines.append(Slot())
            idle.append(lines[-1])
        slot = idle.pop()
        try:
            replies = await _replies(self._target, slot, questions, deadline, seconds=timeout + SLACK)
        except Unavailable:
            self._doubt_lines()
            raise
        finally:
            if len(idle) < WAITS_KEPT:
                idle.append(slot)
            else:
                slot.drop()
                lines.remove(slot)
        return rung(replies[0], self._target), answers(then, replies[1:], self._target)

    async def close(self) -> None:
        """See `AsyncConnection.close`."""
        for trips in [*self._trips.values()]:
            await trips.close()
        for slot in self._bells:
            slot.drop()

    def _make_ours(self) -> None:
        pid, loop = os.getpid(), asyncio.get_running_loop()
        if loop is not self._loop or pid != self._pid:
            self._pid, self._loop, self._trips, self._bells, self._idle = pid, loop, {}, [], []

    def _doubt_lines(self) -> None:
        """Throw away every line but those that are on a trip; these find out by themselves."""
        for slot in self._idle:
            slot.drop()
        for trips in self._trips.values():
            if trips.is_idle:
                trips.slot.drop()


async def _replies(
    target: Target,
    slot: Slot,
    questions: list[Question],
    deadline: Deadline,
    durability: Durability = "memory",
    seconds: float | None = None,
) -> list[Any]:
    """See `RedisConnection._replies`."""
    first: First = None
    line: Any = slot.ready() if durability == "memory" else None
    if line is not None:
        own = deadline if seconds is None else Deadline(seconds)
        try:
            replies: list[Any] = await line.exchange([it.first for it in questions], own)
            if is_ordinary(replies):
                return replies
            first = replies
        except BaseException as error:
            first = error
    talk = asking(target, slot, questions, deadline, durability=durability, seconds=seconds, first=first)
    return await _conducted(talk, deadline)


async def _conducted(talk: Talk[T], deadline: Deadline) -> T:
    """Take the steps of a conversation; what goes wrong is told to it."""
    try:
        step = next(talk)
        while True:
            try:
                match step:
                    case Exchange(line, commands, seconds):
                        came = await line.exchange(commands, deadline if seconds is None else Deadline(seconds))
                    case Aside():
                        came = await _aside(step, deadline)
                    case Open():
                        came = await _opened(step, deadline)
            except BaseException as error:
                step = talk.throw(error)
            else:
                step = talk.send(came)
    except StopIteration as end:
        answer: T = end.value
        return answer


async def _aside(step: Aside, deadline: Deadline) -> Any:
    if step.untimed:
        with deadline.paused():
            return await asyncio.wrap_future(aside(step.key, step.call))
    async with asyncio.timeout(deadline.left()):
        return await asyncio.wrap_future(aside(step.key, step.call))


async def _opened(step: Open, deadline: Deadline) -> AsyncLine:
    place, tls, part = step.place, step.tls, Deadline(deadline.left() / step.parts)
    look_up = partial(addresses, place)
    async with asyncio.timeout(part.left()):
        found = await asyncio.wrap_future(aside(place, look_up)) if needs_look_up(place) else look_up()
        context = await asyncio.wrap_future(aside(tls, partial(tls_context, tls))) if tls else None
    return await AsyncLine.open(place, found, context, part)
