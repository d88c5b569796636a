"""Sparklines: a run of numbers as bars a few pixels high, and in words for those who do not see them. Pure.

Drawn by the macro `spark` of `templates/rows.html`, on the server, without a script.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from procession.web.shown import number

WIDTH, HEIGHT = 90, 18
"""The drawing's own units; the page shows them as pixels."""


class Spark(Struct, frozen=True):
    """Numbers, the oldest first (None: not known), and what they are of: "queued, minute by minute"."""

    of: str
    values: tuple[float | None, ...]

    @property
    def path(self) -> str:
        """One bar for each number that is not 0, the highest as high as the drawing."""
        top = max((it for it in self.values if it is not None), default=0)
        if not top:
            return ""
        step = WIDTH / len(self.values)
        bars = []
        for at, value in enumerate(self.values):
            if value:
                height = max(1.5, HEIGHT * value / top)
                bars.append(f"M{at * step:.1f} {HEIGHT}v-{height:.1f}h{max(step - 0.5, 0.5):.1f}v{height:.1f}z")
        return "".join(bars)

    @property
    def says(self) -> str:
        """The same in a sentence."""
        known = [it for it in self.values if it is not None]
        if not known:
            return f"{self.of}: not known"
        least, most, last = (number(round(it)) for it in (min(known), max(known), known[-1]))
        return f"{self.of}: {least} to {most}, {last} at last"


def carried(values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Numbers with each gap filled by what was known last: a depth of which nobody spoke is what it was."""
    found: list[float | None] = []
    for value in values:
        found.append(value if value is not None or not found else found[-1])
    return tuple(found)
