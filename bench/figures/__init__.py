"""One file per kind of figure: `ROWS`, what the tables show of it, and `measure(contestant, …)`, which runs beside the
contestant, needs only the standard library, and returns numbers by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KINDS = ("drain", "enqueue", "latency", "delayed", "waiting", "cpu", "backlog", "memory", "start", "footprint")
"""The files, in the order of the tables."""


@dataclass(frozen=True)
class Row:
    """One line of the tables."""

    name: str
    title: str
    unit: str
    value: str
    """Which of the measured numbers it shows."""
    options: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)
    """What `--small` sets otherwise."""
    needs: tuple[str, ...] = ()
    """The words of a contestant without which it has no such figure; of several in one string one is enough."""
    more: tuple[str, ...] = ()
    """Other numbers that are shown, in small, beside it."""
    higher: bool = True
    """Whether more is better."""
    modes: tuple[str, ...] = ("none",)
    """Under which persistence it is measured."""
    trip: float | None = None
    """Milliseconds of added round-trip time; None means no proxy in between."""
    only: tuple[str, ...] = ()
    """When given: the contestants that take part."""
