"""The numbers of a namespace in the brief's words, from counters that the moves keep: O(1), never a count on view."""

from __future__ import annotations

from msgspec import Struct

from procession.database import Counts


class Stats(Struct, frozen=True, kw_only=True):
    """What was processed, what failed, what is still scheduled.

    `processed`, `failed` and `cancelled` count events since the namespace was created. `scheduled` is all that waits
    now: `queued` + `delayed` + `blocked`.
    """

    processed: int
    failed: int
    scheduled: int
    running: int
    cancelled: int
    queued: int
    delayed: int
    blocked: int
    retried: int
    recovered: int

    @classmethod
    def of(cls, counts: Counts) -> Stats:
        """Stats from the store's counters."""
        return cls(
            processed=counts.processed,
            failed=counts.failed,
            scheduled=counts.queued + counts.delayed + counts.blocked,
            running=counts.running,
            cancelled=counts.cancelled,
            queued=counts.queued,
            delayed=counts.delayed,
            blocked=counts.blocked,
            retried=counts.retried,
            recovered=counts.recovered,
        )

    def as_dict(self) -> dict[str, int]:
        """All numbers by name, `processed`, `failed` and `scheduled` first."""
        return {name: getattr(self, name) for name in self.__struct_fields__}
