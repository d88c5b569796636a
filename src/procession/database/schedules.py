"""The verbs about schedules. When a schedule is due is arithmetic of the caller (`schedule.py`); the store keeps what
was asked and the next instant, and fires each instant once.

No leader, no lock: any number of workers may look at what is due and decide; whose decision comes first is applied,
with its jobs, in one step, and the others find that the schedule has moved on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from procession.database.operation import Operation
from procession.schedule import Firing, Planned, ScheduleInfo

Fired = Literal["fired", "busy", "lost"]
"""It was applied; it waits until the run before has finished; somebody else came first, or changed the schedule."""


class Scheduled(Struct, frozen=True):
    """Schedules as they are now."""

    schedules: list[ScheduleInfo]
    now: int
    """The store's clock, milliseconds since the epoch."""
    next_due: int = 0
    """When the next of the others is due, or 0."""


class Schedules(Protocol):
    """Schedules, by name."""

    def schedules(self, names: Sequence[str] | None = None) -> Operation[Scheduled]:
        """All schedules by name, or those of `names` that are there, in that order."""
        ...

    def due_schedules(self, limit: int) -> Operation[Scheduled]:
        """Up to `limit` schedules that are due, the longest due first; `next_due` tells of those that are not.

        - One that was declared in code and that no worker has declared for five minutes rests: it is not answered, and
          after 14 days it is removed, five minutes after a look found it resting at the earliest. So workers have time
          to declare it when the clock has jumped.
        """
        ...

    def upsert_schedules(self, plans: Sequence[Planned], *, declared: bool | None = False) -> Operation[list[bool]]:
        """Store schedules; True for each that is new or was changed.

        - One that is stored just so already keeps its next instant: asking twice changes nothing.
        - One that is paused stays so.
        - `declared` says that it stands in code, now; without it the schedule was made at run time and never rests;
          None leaves that as it was.
        - A schedule beyond the 2,000th is refused, and the whole call with it: ConfigError.
        """
        ...

    def touch_schedules(self, names: Sequence[str]) -> Operation[bool]:
        """Say that these still stand in code. What rested goes on where it was, also when the clock went back since.

        - False when none was ever stored as declared: the store has come back empty. One that was removed stays so.
        """
        ...

    def pause_schedules(self, names: Sequence[str], reason: str = "") -> Operation[list[bool]]:
        """Let these not be due; True for each that is there."""
        ...

    def resume_schedules(self, plans: Sequence[Planned]) -> Operation[list[bool]]:
        """Undo `pause_schedules`; the next instant is the one given. False for one that is not paused or was changed
        meanwhile."""
        ...

    def remove_schedules(self, names: Sequence[str]) -> Operation[list[bool]]:
        """Forget schedules and their history; their jobs stay. True for each that was there."""
        ...

    def fire(self, firings: Sequence[Firing]) -> Operation[list[Fired]]:
        """Insert the runs of schedules and move their next instant on, if they are as they were when looked at.

        - A schedule that reads otherwise, is due at another instant or is paused answers `lost`, and nothing happens.
        - An instant that was decided before inserts nothing, whatever became of its job.
        - While another run of this schedule is not finished, `overlap` decides: `skip` inserts nothing, `queue_one`
          answers `busy` and makes the schedule due again in a second, `cancel_previous` cancels what is not finished.
        - With `expected` 0 (by hand, backfill) the next instant stays, and nothing is asked of other runs.
        - A store that takes no new work refuses the whole call.
        """
        ...
