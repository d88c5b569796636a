"""A connection on which things go wrong by the dice of a seed: everything that a network and a store do to a question.

It stands before a real connection and asks it in earnest; what it adds is when, whether somebody hears the answer, and
whether the question runs once more or much later. Called by the random schedules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from procession.database.operation import AsyncConnection
from procession.errors import StoreRefused, Unavailable

FAULTS = ("unasked", "lost", "cut", "late", "refused", "held")
"""What may happen to a question, one at a time."""


class Weather(Struct, kw_only=True):
    """How likely each fault is, per question; zero everywhere is a fine day. May be changed while it is used."""

    unasked: float = 0.0
    """The connection breaks before anything was sent."""
    lost: float = 0.0
    """It ran, and the answer is lost."""
    cut: float = 0.0
    """Of several questions asked together the first ones ran, then the connection broke."""
    late: float = 0.0
    """The asker gives up; it runs up to `lateness` seconds later."""
    refused: float = 0.0
    """The store answers "not now"."""
    held: float = 0.0
    """It stays away for `holding` seconds, then runs and is answered: whoever asked is paused for so long."""
    deaf: float = 0.0
    """A ring of a bell is swallowed."""
    delay: float = 0.0
    """Longest ordinary delay there, and back, in seconds."""
    lateness: float = 5.0
    holding: float = 40.0

    def clear_up(self) -> None:
        """From now on nothing goes wrong."""
        for name in (*FAULTS, "deaf", "delay"):
            setattr(self, name, 0.0)


class FaultyConnection:
    """See `AsyncConnection`. Once its process is `dead` nothing is asked any more."""

    def __init__(self, real: AsyncConnection, weather: Weather, dice: Random, dead: Callable[[], bool]) -> None:
        self._real: Any = real
        self._weather = weather
        self._dice = dice
        self._dead = dead

    def _fault(self) -> str:
        at = self._dice.random()
        for name in FAULTS:
            at -= getattr(self._weather, name)
            if at < 0:
                return name
        return ""

    async def _travel(self) -> None:
        await asyncio.sleep(self._dice.uniform(0.0, self._weather.delay))

    async def ask(self, *operations: Any, **options: Any) -> Any:
        """See `AsyncConnection.ask`."""
        if self._dead():
            raise Unavailable("its process is dead", asked=False)
        fault = self._fault()
        await self._travel()
        if fault == "unasked":
            raise Unavailable("the connection broke", asked=False)
        if fault == "refused":
            raise StoreRefused("not now")
        if fault == "late":
            after = self._dice.uniform(0.0, self._weather.lateness)
            asyncio.get_running_loop().call_later(after, self._run_late, operations, options)
            raise Unavailable("no answer in time", asked=True)
        if fault == "held":
            await asyncio.sleep(self._dice.uniform(0.5, 1.0) * self._weather.holding)
        asked = operations[: self._dice.randrange(len(operations))] if fault == "cut" else operations
        answer = await self._real.ask(*asked, **options) if asked else None
        await self._travel()
        if fault in ("lost", "cut"):
            raise Unavailable("the connection broke", asked=True)
        return answer

    def _run_late(self, operations: Sequence[Any], options: dict[str, Any]) -> None:
        late = asyncio.ensure_future(self._real.ask(*operations, **options))
        late.add_done_callback(lambda done: done.exception())

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `AsyncConnection.wait`."""
        if self._dice.random() < self._weather.unasked:
            raise Unavailable("the connection broke", asked=False)
        bell: str | None = await self._real.wait(bells, timeout)
        return None if self._dice.random() < self._weather.deaf else bell

    async def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Any) -> tuple[str | None, Any]:
        """See `AsyncConnection.wait_then_ask`. To the question happens what may happen to any other."""
        return await self.wait(bells, timeout), await self.ask(operation)

    async def close(self) -> None:
        """See `AsyncConnection.close`."""
        await self._real.close()
