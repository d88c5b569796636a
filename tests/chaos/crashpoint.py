"""A queue worker that dies at a chosen point of its talk with the store.

`CHAOS_CRASH_AT=before-settle` kills the process just before the trip that settles is sent, `after-settle` when its
answer has come; likewise any other verb, and `release`: a settle that gives something back. The n-th such trip is
meant, n drawn up to `CHAOS_CRASH_WITHIN` in each process anew. With `CHAOS_CRASH_WHOLE` its supervisor dies with it,
so nobody tells the store. Everything else is the real thing: the wrapper hands every question on.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from procession import Procession
from procession.database import AsyncConnection, Database

CRASH_AT, CRASH_WITHIN, CRASHES = "CHAOS_CRASH_AT", "CHAOS_CRASH_WITHIN", "CHAOS_CRASHES"
CRASH_WHOLE = "CHAOS_CRASH_WHOLE"


class CrashingConnection:
    """Hands questions on to a real connection, and ends the process at the chosen one."""

    def __init__(self, connection: AsyncConnection, when: str, verb: str, count: int) -> None:
        self._connection = connection
        self._when, self._verb, self._left = when, verb, count

    async def ask(self, *operations: Any, **options: Any) -> Any:
        due = any(is_meant(operation, self._verb) for operation in operations)
        self._left -= due
        chosen = due and self._left == 0  # known now: others may ask, and count, before this one is answered
        if chosen and self._when == "before":
            die()
        answer = await self._connection.ask(*operations, **options)
        if chosen and self._when == "after":
            die()
        return answer

    async def wait_then_ask(self, bells: Any, timeout: float, operation: Any) -> tuple[str | None, Any]:
        """A wait, and the question as if it were asked then: this process may die at it, too."""
        return await self._connection.wait(bells, timeout), await self.ask(operation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def is_meant(operation: Any, verb: str) -> bool:
    """This question is the verb that we die at."""
    name: str = operation.script.name
    if verb == "release":
        return name == "settle" and any(isinstance(it, bytes) and b"release" in it for it in operation.arguments)
    return name == verb


def die() -> None:
    """SIGKILL to ourselves, told in a file first."""
    with Path(os.environ[CRASHES]).open("a") as told:
        told.write(f"{os.getpid()} {time.monotonic()}\n")
    if os.environ.get(CRASH_WHOLE):
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def install(app: Procession) -> None:
    """Make this app's async connections crash if the environment says so."""
    at = os.environ.get(CRASH_AT)
    if not at:
        return
    when, verb = at.split("-")
    database: Database = app.database
    connect = database.connect_async

    def crashing(*args: Any, **options: Any) -> Any:
        count = random.randint(1, int(os.environ[CRASH_WITHIN]))
        return CrashingConnection(connect(*args, **options), when, verb, count)

    database.connect_async = crashing  # type: ignore[method-assign]
