"""The verbs of what is measured, over `Ledger`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from procession.database.measures import Bucket, By, Counts, ErrorGroup, Seen, Slice, Step, depth_of, sliced
from procession.database.memory.store import Store
from procession.database.operation import Operation

T = TypeVar("T")
NOTHING: Counts = {}


class MeasureVerbs(ABC):
    """The verbs of `procession.database.measures.Measures`."""

    store: Store
    now: Callable[[], int]

    @abstractmethod
    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""

    def measure(self, series: Mapping[str, Counts], errors: Sequence[Seen] = ()) -> Operation[None]:
        """See `Measures.measure`."""

        def run() -> None:
            ledger, now = self.store.ledger, self.now()
            ledger.add(series, now)
            for it in errors:
                ledger.seen(it, now)
            ledger.shed(now)

        return self.operation(run)

    def history(self, *, step: Step, number: int, scope: str = "") -> Operation[list[Bucket]]:
        """See `Measures.history`."""

        def run() -> list[Bucket]:
            latest, found = self.now() // step, []
            for at in range(latest - number + 1, latest + 1):
                bucket = self.store.ledger.buckets.get((step, at), {})
                names = (f"e{scope}", f"h{scope}", f"d{scope}", "d")
                events, histograms, own, whole = (bucket.get(it) or NOTHING for it in names)
                found.append(Bucket(at * step, dict(events), dict(histograms), depth_of(scope, own, whole)))
            return found

        return self.operation(run)

    def breakdown(self, *, by: By, step: Step, number: int, back: int = 0) -> Operation[list[Slice]]:
        """See `Measures.breakdown`."""

        def run() -> list[Slice]:
            latest, buckets = self.now() // step - back, self.store.ledger.buckets
            span = range(latest - number + 1, latest + 1)
            found = ({name: dict(it) for name, it in buckets.get((step, at), {}).items()} for at in span)
            return [sliced(at * step, by[0], series) for at, series in zip(span, found, strict=True)]

        return self.operation(run)

    def groups(self, limit: int) -> Operation[list[ErrorGroup]]:
        """See `Measures.groups`."""
        return self.operation(lambda: self.store.ledger.by_last_seen(self.now())[:limit])

    def mute(self, fingerprint: str, milliseconds: int) -> Operation[bool]:
        """See `Measures.mute`."""

        def run() -> bool:
            groups = self.store.ledger.groups
            if fingerprint not in groups:
                return False
            until = self.now() + milliseconds if milliseconds else 0
            groups[fingerprint] = replace(groups[fingerprint], muted_until=until)
            return True

        return self.operation(run)
