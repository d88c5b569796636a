"""One of the N places of a supervisor: who serves there, who is to take over, and who is leaving.

A replacement is started first and takes over once it serves; only then is its predecessor asked to go. So a place is
never empty by our own doing, and a release that cannot begin leaves the old one at work. A death leaves a place empty
for a pause, doubled with each death in a row. Decides and remembers, and starts nothing by itself.
"""

from __future__ import annotations

from procession.runtime.children import Child

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before the next start after a death: doubled with each death in a row."""
HEALTHY = 10.0
"""Seconds after which the death of a child that has served no longer counts as one in a row."""


class Seat:
    """A place for one serving child. At most three processes belong to it."""

    def __init__(self) -> None:
        self.serving: Child | None = None
        self.successor: Child | None = None
        self.leaving: Child | None = None
        self.closed = False
        """Nobody else is to be started here."""
        self.due = 0.0
        """When the next may be started, by the monotonic clock."""
        self._deaths = 0

    def members(self) -> list[Child]:
        """All who live here."""
        return [child for child in (self.serving, self.successor, self.leaving) if child is not None]

    @property
    def changing(self) -> bool:
        """A replacement is under way."""
        return self.successor is not None or self.leaving is not None

    def empty(self, now: float) -> bool:
        """One is to be started to serve here."""
        return self.serving is None and not self.closed and now >= self.due

    def worn(self, now: float) -> bool:
        """One is to be started to take over."""
        return self.serving is not None and self.serving.worn and not self.closed and now >= self.due

    def take_over(self) -> Child | None:
        """When the successor serves, the predecessor is the answer, once: it is to be asked to go."""
        if self.successor is None or not self.successor.pulse.begun or self.successor.stopping:
            return None
        self.leaving, self.serving, self.successor = self.serving, self.successor, None
        self._deaths = 0
        return self.leaving

    def dismiss(self, child: Child) -> None:
        """A child was told to stop: nobody serves here any more, unless another has taken its place already."""
        if child is self.leaving:
            return
        self.closed = True
        for one in self.members():
            one.stop()

    def left(self, child: Child, now: float) -> float:
        """A child is gone. Returns the pause in seconds before another may be started; 0 when none is needed."""
        if child is self.leaving:
            self.leaving = None
            return 0.0
        if child is self.serving:
            self.serving, self.successor = self.successor, None
        else:
            self.successor = None
        return self.put_off(now, after=now - child.started if child.pulse.begun else 0.0)

    def put_off(self, now: float, *, after: float = 0.0) -> float:
        """A start came to nothing, `after` so many seconds: returns the pause until the next."""
        self._deaths = 0 if after > HEALTHY else self._deaths
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._deaths)
        self._deaths += 1
        self.due = now + pause
        return pause

    def renew(self) -> None:
        """All who live here are to be replaced, and nothing that failed, or never began, before holds that up."""
        self.due, self._deaths = 0.0, 0
        for child in self.members():
            child.renew()
