"""What happened, in dicts: the buckets and the groups of errors of a memory database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from procession.database.measures import (
    DEPTHS_KEPT,
    EVENTS,
    GROUPS_KEPT,
    HOUR,
    HOURS,
    MINUTE,
    MINUTES,
    MINUTES_KEPT,
    NAMES_KEPT,
    SAMPLES_KEPT,
    SERIES_KEPT,
    UNSEEN,
    Counts,
    ErrorGroup,
    Seen,
)

T = TypeVar("T")


class Ledger:
    """Buckets and groups."""

    def __init__(self) -> None:
        self.buckets: dict[tuple[int, int], dict[str, defaultdict[int, int]]] = {}
        self.groups: dict[str, ErrorGroup] = {}
        self.begun: int | None = None
        """The minute that began during this operation."""

    def happened(self, event: str, queue: str, now: int) -> None:
        """Count one event in the bucket of this minute and of this hour."""
        slot = EVENTS.index(event)
        self.add({"e": {slot: 1}, f"eq{queue}": {slot: 1}}, now)

    def add(self, series: Mapping[str, Counts], now: int) -> None:
        """Add counts to the buckets of now, and forget buckets that nobody can ask for."""
        for width, kept in ((MINUTE, MINUTES), (HOUR, HOURS)):
            if (width, now // width) not in self.buckets:
                self.buckets[width, now // width] = {}
                self.begun = now if width == MINUTE else self.begun
                oldest = now // width - kept
                self.buckets = {key: it for key, it in self.buckets.items() if key[0] != width or key[1] >= oldest}
            bucket = self.buckets[width, now // width]
            for name, counts in series.items():
                full = name not in bucket and len(bucket) >= SERIES_KEPT and len(name) > 2
                sums = bucket.setdefault(name[:2] if full else name, defaultdict(int))
                for slot, by in counts.items():
                    sums[slot] += by

    def deepen(self, queued: Mapping[str, int]) -> None:
        """Write down how deep the queues are in the minute that just began."""
        at, self.begun = self.begun, None
        if at is not None:
            deepest = sorted((it for it in queued.items() if it[1]), key=lambda it: (-it[1], it[0]))[:DEPTHS_KEPT]
            self.add({"d": {0: sum(queued.values()), 1: 1}, **{f"dq{name}": {0: it} for name, it in deepest}}, at)

    def seen(self, it: Seen, now: int) -> None:
        """Add to a group of errors."""
        group = self.groups.get(it.fingerprint) or ErrorGroup(
            fingerprint=it.fingerprint, type=it.type, message=it.message, where=it.where, count=0, first_at=now,
            last_at=now, names=(), samples=(),
        )  # fmt: skip
        minutes = dict(group.minutes)
        minutes[now // MINUTE * MINUTE] = minutes.get(now // MINUTE * MINUTE, 0) + it.count
        self.groups[it.fingerprint] = replace(
            group,
            count=group.count + it.count,
            last_at=now,
            names=newest([*group.names, *it.names], NAMES_KEPT),
            samples=newest([*group.samples, *it.samples], SAMPLES_KEPT),
            workers=newest([*group.workers, *it.workers], NAMES_KEPT),
            minutes=tuple(minutes.items())[-MINUTES_KEPT:],
        )

    def by_last_seen(self, now: int) -> list[ErrorGroup]:
        """The groups that are kept, the last seen first."""
        kept = [it for it in self.groups.values() if it.last_at > now - UNSEEN]
        return sorted(kept, key=lambda it: (it.last_at, it.fingerprint), reverse=True)

    def shed(self, now: int) -> None:
        """Forget the groups that were not seen for long, and the oldest of too many."""
        self.groups = {it.fingerprint: it for it in self.by_last_seen(now)[:GROUPS_KEPT]}


def newest(values: Iterable[T], most: int) -> tuple[T, ...]:
    """The newest `most` of these, each once, where it came last."""
    return tuple(reversed(list(dict.fromkeys(reversed([*values])))[:most]))
