"""The Names page: what each job name came to in a span of time, from the tallies that workers tell the store.

Loaded by `views.py`, read once for all who look. Percentiles are those of the whole span, from summed histograms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from procession.client import Procession
from procession.clock import wall
from procession.database.measures import EVENTS, HOUR, MINUTE, RUN, WAIT, By, Slice, Step
from procession.errors import ConfigError
from procession.query import Term
from procession.web.past import Latency, SpanLink, latency
from procession.web.shown import key_of
from procession.web.spark import Spark

if TYPE_CHECKING:
    from procession.web.views import Source

SHOWN = 200
"""Names on the page, those that ran most."""
TRIP = 6
"""Buckets of one question: a long span is read in several, so that none holds the store for long."""
BARS = 45
"""Bars of a sparkline; more points than that are added up."""
RUNS = ("processed", "failed", "retried", "cancelled")
"""What an attempt comes to."""


class Reach(Struct, frozen=True):
    """One span that can be asked for."""

    words: str
    step: Step
    number: int
    fresh: float
    """Seconds for which what was read is shown on."""


REACHES = {
    "15m": Reach("15 minutes", MINUTE, 15, 1.0), "1h": Reach("hour", MINUTE, 60, 2.0),
    "24h": Reach("24 hours", HOUR, 24, 30.0), "7d": Reach("7 days", HOUR, 168, 60.0),
}  # fmt: skip
FIRST = "1h"


class NameRow(Struct, frozen=True, kw_only=True):
    """One job name; `name` is "" for what was counted beyond the bound of names."""

    key: str
    name: str
    runs: int
    """Attempts that came to an end."""
    ok: float
    """Per cent of them that were processed."""
    retries: int
    failures: int
    wait: Latency
    run: Latency
    spark: Spark
    filter: str
    """What finds its jobs."""


class Names(Struct, frozen=True, kw_only=True):
    """All job names of a span, as far as the page shows them."""

    at: int
    span: str
    spans: tuple[SpanLink, ...]
    total: int
    names: tuple[NameRow, ...]


async def load_names(source: Source, params: Mapping[str, str]) -> Names:
    """See `Names`. Raises ConfigError for a span that there is not."""
    key = params.get("span", "") or FIRST
    reach = REACHES.get(key)
    if reach is None:
        raise ConfigError(f"span must be one of {', '.join(REACHES)}")

    async def read() -> tuple[NameRow, ...]:
        return name_rows(await slices(source.app, "name", reach.step, reach.number), reach.words)

    rows = await source.memory.names.get(key, reach.fresh, read)
    spans = tuple(SpanLink(it, it == key) for it in REACHES)
    return Names(at=wall(), span=reach.words, spans=spans, total=len(rows), names=rows[:SHOWN])


async def slices(app: Procession, by: By, step: Step, number: int) -> list[Slice]:
    """A breakdown of any length, the oldest first, in one trip of short questions."""
    asked = [
        app.database.breakdown(by=by, step=step, number=min(TRIP, number - back), back=back)
        for back in range(0, number, TRIP)
    ]
    answers: Any = await app.connection_async().ask(*asked)
    parts: Sequence[list[Slice]] = [answers] if len(asked) == 1 else answers
    return [it for part in reversed(parts) for it in part]


def name_rows(found: Sequence[Slice], words: str) -> tuple[NameRow, ...]:
    """Slices as rows, the name that ran most first."""
    names = dict.fromkeys(name for it in found for name in it.scopes)
    rows = (_row(name, found, words) for name in names)
    return tuple(sorted(rows, key=lambda it: (not it.name, -it.runs, it.name)))


def _row(name: str, found: Sequence[Slice], words: str) -> NameRow:
    events: Counter[int] = Counter()
    times: Counter[int] = Counter()
    runs: list[float] = []
    for it in found:
        bucket = it.scopes.get(name)
        runs.append(sum(bucket.events.get(EVENTS.index(event), 0) for event in RUNS) if bucket else 0)
        if bucket is not None:
            events.update(bucket.events)
            times.update(bucket.histograms)
    came = {event: events[EVENTS.index(event)] for event in RUNS}
    total = sum(came.values())
    return NameRow(
        key=key_of(name),
        name=name,
        runs=total,
        ok=100 * came["processed"] / total if total else 0.0,
        retries=came["retried"],
        failures=came["failed"],
        wait=latency("wait", times, WAIT),
        run=latency("run", times, RUN),
        spark=Spark(f"runs in the last {words}", binned(runs)),
        filter=str(Term("job", (name,))) if name else "",
    )


def binned(values: Sequence[float]) -> tuple[float, ...]:
    """Numbers added up so that at most 45 are left, the newest group whole."""
    width = -(-len(values) // BARS)
    if width <= 1:
        return tuple(values)
    first = len(values) % width
    groups = [values[:first], *(values[at : at + width] for at in range(first, len(values), width))]
    return tuple(sum(it) for it in groups if it)
