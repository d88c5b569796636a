"""One trip to the store: the questions of a turn, and a way to have it set out before anybody waits for it.

Made by `queue_worker.py`.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

from procession.database import Operation
from procession.job import Outcome
from procession.runtime.claiming import Claim

T = TypeVar("T")


class Trip:
    """What one turn asks, by name, and what it is about."""

    def __init__(self, at: float, outcomes: list[Outcome], notes: int) -> None:
        self.at = at
        """When it was put together, on the scale of `clock.monotonic()`."""
        self.outcomes = outcomes
        self.notes = notes
        self.claim: Claim | None = None
        self.asked: dict[str, Operation[Any]] = {}
        self.answers: Awaitable[Any]

    def named(self, answers: Any) -> dict[str, Any]:
        """The answers to `asked`, by the same names."""
        return dict(zip(self.asked, answers if len(self.asked) > 1 else [answers], strict=True))


def begun(coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """Take a coroutine as far as it comes without waiting, now; the rest when this is awaited, by the same task. What
    it raises meanwhile is raised then."""
    try:
        step = coroutine.send(None)
    except StopIteration as end:
        return _over(end.value)
    except BaseException as error:
        return _failed(error)
    return _going_on(coroutine, step)


async def _over(answer: T) -> T:
    return answer


async def _failed(error: BaseException) -> Any:
    raise error


@types.coroutine
def _going_on(coroutine: Coroutine[Any, Any, T], step: Any) -> Generator[Any, Any, T]:
    try:
        while True:
            try:
                came = yield step
            except BaseException as error:
                step = coroutine.throw(error)
            else:
                step = coroutine.send(came)
    except StopIteration as end:
        answer: T = end.value
        return answer
