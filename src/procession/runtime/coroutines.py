"""Coroutines begun by hand: taken as far as they come without waiting, and gone on with by the task that awaits them.

To its code, that task is the current one from its first line to its last, if it was begun there, too.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def begun(coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """Take a coroutine as far as it comes without waiting, now; the rest when this is awaited, by the same task. What
    it raises meanwhile is raised then."""
    context = copy_context()
    try:
        step = context.run(coroutine.send, None)
    except StopIteration as end:
        return _over(end.value)
    except BaseException as error:
        return _failed(error)
    return going_on(coroutine, step, context)


@types.coroutine
def going_on(coroutine: Coroutine[Any, Any, T], step: Any, context: Context) -> Generator[Any, Any, T]:
    """The rest of a coroutine that waits for `step`, in its context: what it returns."""
    try:
        while True:
            try:
                came = yield step
            except BaseException as error:
                step = context.run(coroutine.throw, error)
            else:
                step = context.run(coroutine.send, came)
    except StopIteration as end:
        answer: T = end.value
        return answer


async def _over(answer: T) -> T:
    return answer


async def _failed(error: BaseException) -> Any:
    raise error
