"""An event loop whose time leaps: when nothing is ready it is at once the time of the next timer.

So hours of leases, retries and outages pass in a moment, in the same order each time. The runtime's own clock is put on
this time as well. Nothing here knows what runs.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from procession import clock

T = TypeVar("T")


class Leaping(selectors.DefaultSelector):
    """Never waits: what it was asked to wait is added to `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        events = super().select(0)
        if not events:
            assert timeout is not None, "everything waits, and nothing will ever happen"
            self.now += max(timeout, 0.0)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """See above."""

    def __init__(self) -> None:
        self.leaping = Leaping()
        super().__init__(self.leaping)

    def time(self) -> float:
        """Seconds since the loop was made, as its timers know them."""
        return self.leaping.now


@contextmanager
def measured_by(measure: Callable[[], float]) -> Iterator[None]:
    """Every module of ours that measures time does it by this, in place of `clock.monotonic`."""
    known = [module for name, module in [*sys.modules.items()] if name.startswith("procession")]
    measuring: list[Mapping[str, Any]] = [vars(module) for module in known if "monotonic" in vars(module)]
    real = clock.monotonic
    for names in measuring:
        names["monotonic"] = measure  # type: ignore[index]
    try:
        yield
    finally:
        for names in measuring:
            names["monotonic"] = real  # type: ignore[index]


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run to the end on virtual time, and leave nothing behind."""
    with measured_by(loop.time):
        try:
            return loop.run_until_complete(main)
        finally:
            loop.run_until_complete(_end_the_others())
            loop.close()


async def _end_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
