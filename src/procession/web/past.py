"""The throughput chart and the latency table of the Overview: what the store's own history says about one span.

Loaded by `views.py`, at most once per `Choice.fresh` for all who watch, since a history costs a small read per bucket.
Percentiles are taken from the summed histograms of the whole span: those of single points cannot be averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from procession.client import Procession
from procession.database.measures import EVENTS, RUN, WAIT, Bucket, Step, quantile
from procession.errors import ConfigError
from procession.web.chart import Chart, Line
from procession.web.kept import Kept

if TYPE_CHECKING:
    from procession.web.jobnames import NameRow
    from procession.web.onequeue import QueuePast
    from procession.web.spark import Spark

ENDS = ("processed", "failed", "retried")
"""The events that the chart draws."""


class Choice(Struct, frozen=True):
    """One span that can be asked for: its name in the address and on the page."""

    key: str
    words: str
    step: Step
    number: int
    joined: int
    """How many buckets become one point."""
    fresh: float
    """Seconds for which what was read is shown on."""
    unit: str


CHOICES = {
    it.key: it
    for it in (
        Choice("15m", "15 minutes", 60_000, 15, 1, 1.0, "jobs/min"),
        Choice("1h", "hour", 60_000, 60, 1, 2.0, "jobs/min"),
        Choice("24h", "24 hours", 60_000, 1_440, 10, 30.0, "jobs/10 min"),
        Choice("7d", "7 days", 3_600_000, 168, 1, 30.0, "jobs/h"),
    )
}


class SpanLink(Struct, frozen=True):
    """One span to choose."""

    key: str
    current: bool


class Latency(Struct, frozen=True, kw_only=True):
    """One line of the latency table: milliseconds that half, 95 and 99 of a hundred jobs did not exceed."""

    key: str
    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class Past(Struct, frozen=True, kw_only=True):
    """One span, drawn."""

    spans: tuple[SpanLink, ...]
    chart: Chart
    latency: tuple[Latency, Latency]


class Memory:
    """What was read last: of the whole, of names and queues, by span."""

    def __init__(self) -> None:
        self._whole: Kept[Past] = Kept()
        self.names: Kept[tuple[NameRow, ...]] = Kept()
        self.queues: Kept[QueuePast] = Kept()
        self.sparks: Kept[Mapping[str, Spark]] = Kept()

    async def past(self, app: Procession, key: str) -> Past:
        """The past of one span; "" is the first choice. Raises ConfigError for a span that there is not."""
        choice = choice_of(key)

        async def read() -> Past:
            buckets = await app.ask_async(app.database.history(step=choice.step, number=choice.number))
            return drawn(choice, buckets)

        return await self._whole.get(choice.key, choice.fresh, read)


def choice_of(key: str) -> Choice:
    """The span of this name; "" is the first. Raises ConfigError."""
    choice = CHOICES.get(key or next(iter(CHOICES)))
    if choice is None:
        raise ConfigError(f"span must be one of {', '.join(CHOICES)}")
    return choice


def drawn(choice: Choice, buckets: Sequence[Bucket]) -> Past:
    """Buckets, the oldest first, as a chart and a table."""
    size = choice.joined * choice.step
    points: dict[int, Counter[int]] = {}
    sums: Counter[int] = Counter()
    for bucket in buckets:
        points.setdefault(bucket.at // size * size, Counter()).update(bucket.events)
        sums.update(bucket.histograms)
    lines = tuple(Line(name, name, tuple(float(it[EVENTS.index(name)]) for it in points.values())) for name in ENDS)
    chart = Chart(
        key="throughput", title=f"Throughput, last {choice.words}", unit=choice.unit, begin=f"{choice.key} ago",
        at=tuple(points), lines=lines,
    )  # fmt: skip
    spans = tuple(SpanLink(it, it == choice.key) for it in CHOICES)
    return Past(spans=spans, chart=chart, latency=(latency("wait", sums, WAIT), latency("run", sums, RUN)))


def latency(key: str, sums: Counter[int], first: int) -> Latency:
    """One line of the table, from summed histograms; `first` is the first slot of the one that is meant."""
    p50, p95, p99 = (quantile(sums, first, part) for part in (0.5, 0.95, 0.99))
    count = sum(number for slot, number in sums.items() if first <= slot < first + 100)
    return Latency(key=key, count=count, p50=p50, p95=p95, p99=p99)
