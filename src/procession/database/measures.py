"""What a store remembers of what happened: buckets of a minute and of an hour, and groups of errors.

The moves of jobs are counted by the store itself, in the scripts that move them. What only a queue worker knows (how
long its jobs ran and waited, by name, and why they failed) it sends with `measure`. A count lives in a *slot* of a
*series*: a kind (`e` events, `h` histograms, `d` depths) and a scope ("" for all, `q` and a queue, `n` and a job's
name). Depths are read once a minute, by the script that begins it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol
from uuid import UUID

from msgspec import Struct

from procession.database.operation import Operation

EVENTS = ("enqueued", "processed", "failed", "retried", "cancelled")
"""Slots 0 to 4 of a series of events."""
WAIT, RUN = 0, 100
"""First slots of the two histograms of a series."""
BOUNDS = tuple(2 ** (step / 2) for step in range(56))
"""Upper bounds of the classes of a histogram in milliseconds: 1 ms to 2.2 days, each √2 times the one before."""
MINUTE: Final = 60_000
HOUR: Final = 3_600_000
MINUTES, HOURS = 24 * 60, 7 * 24
"""How many buckets can be asked for; each is kept a little longer."""
SERIES_KEPT = 2_000
"""Series of one bucket; what comes after is counted under no name, in the scope `q` or `n`."""
DEPTHS_KEPT = 100
"""Queues whose depth is written down each minute: the deepest."""
DEPTH, TAKEN = 0, 1
"""Slots of a depth, and, in that of all, of how many minutes it was taken in."""
GROUPS_KEPT, UNSEEN = 500, 14 * 24 * HOUR
"""How many groups of errors are kept, the last seen ones, and how many milliseconds after they were last seen."""
NAMES_KEPT, SAMPLES_KEPT, MINUTES_KEPT = 10, 20, 60
"""What a group keeps: the newest names of jobs, and as many of workers; jids; and counts of the newest minutes in which
it was seen."""

Step = Literal[60_000, 3_600_000]
By = Literal["queue", "name"]
Counts = Mapping[int, int]
"""Slot → count."""


class Seen(Struct, frozen=True, kw_only=True):
    """What one queue worker saw of one error since it last told."""

    fingerprint: str
    type: str
    message: str
    where: str
    count: int
    names: tuple[str, ...]
    samples: tuple[UUID, ...]
    workers: tuple[str, ...] = ()


class ErrorGroup(Struct, frozen=True, kw_only=True):
    """Failures that are one error: the same class, message (but for values in it) and place.

    Times are milliseconds since the epoch by the store's clock.
    """

    fingerprint: str
    type: str
    message: str
    """Of the first that was seen, with its values taken out."""
    where: str
    """`module:function`, the innermost frame that is neither ours, nor Python's, nor of an installed package."""
    count: int
    """Attempts that ended so, retried ones included."""
    first_at: int
    last_at: int
    names: tuple[str, ...]
    """Names of the jobs hit, the newest last, at most 10."""
    samples: tuple[UUID, ...]
    """Jobs hit, the newest last, at most 20."""
    workers: tuple[str, ...] = ()
    """Queue workers hit, the newest last, at most 10."""
    minutes: tuple[tuple[int, int], ...] = ()
    """When (start of a minute) and how many, for the newest 60 minutes in which it was seen."""
    muted_until: int = 0

    @property
    def sample(self) -> UUID:
        """The newest job hit."""
        return self.samples[-1]


class Bucket(Struct, frozen=True):
    """The counts of one span of time, which begins at `at`."""

    at: int
    events: Counts
    histograms: Counts
    depth: float | None = None
    """How many jobs were queued as it began (of an hour: as its minutes began, on average); None when it is not known,
    as for the name of a job; 0 for a queue that was not among the 100 deepest."""


class Slice(Struct, frozen=True):
    """One span of time by queue or by name, without those of which nothing is known."""

    at: int
    scopes: dict[str, Bucket]


class Measures(Protocol):
    """The verbs of what is measured."""

    def measure(self, series: Mapping[str, Counts], errors: Sequence[Seen] = ()) -> Operation[None]:
        """Add what a queue worker counted to this minute and hour, and the errors it met to their groups.

        - A bucket holds at most 2,000 series; what comes after is counted in the scope without a name.
        - A group that is new pushes out the one seen longest ago, when there are 500.
        - It is not idempotent: repeated after a lost reply it counts twice.
        """
        ...

    def history(self, *, step: Step, number: int, scope: str = "") -> Operation[list[Bucket]]:
        """The newest `number` buckets of `step` milliseconds, the oldest first, the one that runs last.

        - A bucket in which nothing happened is there, empty. O(number).
        """
        ...

    def breakdown(self, *, by: By, step: Step, number: int, back: int = 0) -> Operation[list[Slice]]:
        """What `history` answers of one queue or job's name, of all of them: by queue, or by name.

        - The newest `number` buckets, but for the `back` newest of all: a long span is read in several questions.
        - What was counted beyond the bound of a bucket has the name "".
        - A bucket of which nothing is kept is there, empty. O(number × what is in them).
        """
        ...

    def groups(self, limit: int) -> Operation[list[ErrorGroup]]:
        """Up to `limit` groups of errors, those seen last first; none that was not seen for 14 days."""
        ...

    def mute(self, fingerprint: str, milliseconds: int) -> Operation[bool]:
        """Mute a group for so long, from the store's now; 0 ends that. False when there is no such group."""
        ...


def depth_of(scope: str, own: Counts, whole: Counts) -> float | None:
    """The depth that two series of depths tell: of a scope, and of all."""
    return round(own.get(DEPTH, 0) / whole[TAKEN], 1) if whole.get(TAKEN) and not scope.startswith("n") else None


def sliced(at: int, kind: str, series: Mapping[str, Counts]) -> Slice:
    """A bucket by queue (`kind` is "q") or by name ("n"), from all of its series."""
    whole = series.get("d", {})
    names = dict.fromkeys(it[2:] for it in series if it[1:2] == kind)
    empty: Counts = {}

    def bucket(name: str) -> Bucket:
        events, histograms, depth = (series.get(f"{what}{kind}{name}", empty) for what in "ehd")
        return Bucket(at, events, histograms, depth_of(kind, depth, whole))

    return Slice(at, {name: bucket(name) for name in sorted(names)})


def class_of(milliseconds: float) -> int:
    """The class of a histogram that a duration belongs to."""
    return bisect_left(BOUNDS, milliseconds, 0, len(BOUNDS) - 1)


def quantile(counts: Counts, first: int, part: float) -> float | None:
    """The duration in milliseconds that `part` of what a histogram counted did not exceed; None when it is empty.

    It is the geometric middle of its class, so it is at most 19 % (2 to the power of 1/4) off.
    """
    classes = sorted((slot - first, number) for slot, number in counts.items() if 0 <= slot - first < len(BOUNDS))
    left = part * sum(number for _, number in classes)
    for at, number in classes:
        left -= number
        if left <= 0:
            return round(BOUNDS[at] / 2**0.25, 3) if at else BOUNDS[0]
    return None
