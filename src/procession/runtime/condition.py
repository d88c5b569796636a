"""How a supervisor is, as a value that it tells at each look: for service managers and probes. Decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Condition(Struct, frozen=True, kw_only=True):
    """How a supervisor and its queue workers are."""

    places: int
    """How many queue workers there should be."""
    serving: int
    """How many have been answered by the store, and take jobs."""
    stopping: bool = False
    """It was asked to stop: nothing new is claimed."""


Told = Callable[[Condition], None]
"""What a supervisor calls at each look, about twice a second. It must not wait."""
