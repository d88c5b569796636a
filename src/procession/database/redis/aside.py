"""Blocking calls that we cannot cut short (a name look-up, the user's credentials) on threads of their own.

A caller waits for the answer no longer than its own deadline, on whatever clock it has; the thread ends when the call
does. Calls with the same key that come meanwhile share the answer, so a resolver that hangs holds one thread, not
fifty, and never the event loop's own pool, whose end `asyncio.run` waits for. Called by both kinds of connection.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_running: dict[Hashable, Future[Any]] = {}


def aside(key: Hashable, call: Callable[[], T]) -> Future[T]:
    """The answer of `call`, or of the one with the same key that is under way in this process."""
    from concurrent.futures import Future  # 8 ms with `logging`, and none of it for an address without a name or TLS

    mine: Future[T] = Future()
    owned = (os.getpid(), key)  # after a fork the parent's threads are not here
    running: Future[T] = _running.setdefault(owned, mine)
    if running is mine:

        def work() -> None:
            try:
                answer = call()
            except BaseException as error:
                _running.pop(owned, None)
                mine.set_exception(error)
            else:
                _running.pop(owned, None)
                mine.set_result(answer)

        mine.set_running_or_notify_cancel()  # no caller may cancel what the others wait for
        threading.Thread(target=work, name="procession-aside", daemon=True).start()
    return running
