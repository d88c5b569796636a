"""Charts as geometry: from instants and values to the paths of an SVG, a round top of the scale, and a table.

Pure. The page draws them without a script; `static/chart.js` only adds the cross-hair and the reading by keyboard.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from procession.web.shown import clock

WIDTH, HEIGHT, DASH = 600, 120, 6
"""The chart's own units; the page stretches them."""


class Line(Struct, frozen=True):
    """One line: its name, the state whose colour and dashes it takes, and a value per instant (None: not known)."""

    name: str
    state: str
    values: tuple[float | None, ...]


class Chart(Struct, frozen=True, kw_only=True):
    """One chart; `key` makes it a row like any other that the page keeps up to date."""

    key: str
    title: str
    unit: str
    begin: str
    """What stands below the left edge."""
    at: tuple[int, ...]
    """When each point begins."""
    lines: tuple[Line, ...]

    @property
    def top(self) -> float:
        """The value at the upper edge: 1, 2 or 5 times a power of ten, and no less than 1."""
        return round_up(max((value for line in self.lines for value in line.values if value is not None), default=0))

    @property
    def empty(self) -> bool:
        """True when there is nothing to draw yet."""
        return not any(value is not None for line in self.lines for value in line.values)

    def path(self, line: Line) -> str:
        """The line as an SVG path, broken where nothing is known; a point by itself is a dash, so that it is seen."""
        words, pen, after = [], "M", (*line.values[1:], None)
        for index, value in enumerate(line.values):
            if value is None:
                pen = "M"
                continue
            x = WIDTH * index / max(1, len(self.at) - 1)
            words.append(f"{pen}{x:.1f} {HEIGHT * (1 - value / self.top):.1f}")
            if pen == "M" and after[index] is None:
                words.append(f"h{DASH if x < DASH else -DASH}")
            pen = "L"
        return "".join(words)

    @property
    def data(self) -> str:
        """What the script reads out: JSON."""
        lines = [{"name": it.name, "state": it.state, "values": _rounded(it.values)} for it in self.lines]
        return msgspec.json.encode({"at": self.at, "unit": self.unit, "lines": lines}).decode()

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The table twin, the newest instant first, unknown ones left out."""
        columns = zip(self.at, *(line.values for line in self.lines), strict=True)
        return [
            (clock(at)[5:16], ["–" if value is None else f"{value:,.10g}" for value in values])
            for at, *values in reversed([*columns])
            if any(value is not None for value in values)
        ]


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 …"""
    power = 1.0
    while True:
        for digit in (1, 2, 5):
            if value <= digit * power:
                return digit * power
        power *= 10


def _rounded(values: tuple[float | None, ...]) -> list[float | None]:
    return [None if value is None else round(value, 1) for value in values]
