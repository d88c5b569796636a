"""One trip to the store: the questions of a turn. Made by `queue_worker.py`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from procession.database import Operation
from procession.job import Outcome
from procession.runtime.claiming import Claim


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
