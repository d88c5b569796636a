"""What a queue worker counts of the jobs it ran, until it tells the store: outcomes, waits, runs and errors by name.

The queue worker adds each outcome that the store accepted, and takes the report along in a trip that it makes anyway,
at most once a second. A worker that is killed loses what it has not told. Nothing here waits or speaks to a store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

import msgspec

from procession.codec import decode_failure
from procession.database.measures import (
    EVENTS,
    NAMES_KEPT,
    RUN,
    SAMPLES_KEPT,
    WAIT,
    Counts,
    Seen,
    class_of,
)
from procession.fingerprint import fingerprint, normalised
from procession.job import Failure, Job, Outcome
from procession.moves import Move
from procession.runtime.active import Active
from procession.sealing import CLOSED, Sealing

EVERY = 1.0
"""Seconds between two reports, at least."""
NAMES = 500
"""Names of jobs, and queues, that one report tells apart; what comes after is counted under no name."""
ALIKE = 5_000
"""Kinds of attempts that are counted apart before they are spread over the series; one settle may bring some more."""
ERRORS = 100
"""Errors that one report tells apart; what comes after waits in no group."""

COUNTED: dict[str, int] = {
    Move.PROCESS: EVENTS.index("processed"),
    Move.FAIL: EVENTS.index("failed"),
    Move.RETRY: EVENTS.index("retried"),
    Move.DISCARD: EVENTS.index("cancelled"),
}


class Report(NamedTuple):
    """What is told: the arguments of `measure`."""

    series: dict[str, Counts]
    errors: list[Seen]


class Meter:
    """The counts of one queue worker since its last report. Used on its loop."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._alike: dict[tuple[str, str, str, int | None, int | None], int] = {}
        self._series: dict[str, defaultdict[int, int]] = {}
        self._errors: dict[str, Seen] = {}
        self._told = 0.0

    def add(self, settled: Iterable[tuple[Outcome, Active]]) -> None:
        """Count attempts that came to these outcomes. Of jobs that are sealed errors are told apart as ever, and what
        they say is not told."""
        alike = self._alike
        for outcome, active in settled:
            run, seconds = active.run, active.took
            claimed, registered = run.claimed, run.registered
            ran = None if seconds is None else class_of(seconds * 1_000)
            kind = (registered.name, claimed.queue, outcome.move, ran, claimed.waited)
            alike[kind] = alike.get(kind, 0) + 1
            if outcome.failure and outcome.move is not Move.DISCARD:
                self._failed(outcome.failure, registered.name, claimed.jid, registered.sealing)
        if len(alike) > ALIKE:
            self._spread()

    def died(self, job: Job, failure: Failure, *, grouped: bool, ended: bool) -> None:
        """Count a run that ended with its process: its error, unless it is counted (`grouped`), and whether it was the
        last of its job (`ended`)."""
        if ended:
            self._named(f"en{job.name}")[COUNTED[Move.FAIL]] += 1
        if not grouped:
            self._seen(failure, failure.message, job.name, job.jid)

    def due(self, now: float) -> bool:
        """True when there is something to tell, and the last time is a second ago."""
        return bool(self._alike or self._series or self._errors) and now - self._told >= EVERY

    def taken(self, now: float) -> Report:
        """What there is to tell; it counts as told."""
        self._spread()
        report = Report(dict(self._series), list(self._errors.values()))
        self._series, self._errors, self._told = {}, {}, now
        return report

    def _spread(self) -> None:
        """Attempts that were alike in everything, into the series that they belong to."""
        for (name, queue, move, ran, waited), number in self._alike.items():
            event = COUNTED.get(move)
            if event is not None:
                self._named(f"en{name}")[event] += number
            if ran is not None:
                wait = None if waited is None else WAIT + class_of(waited)
                for series in (self._named(f"hn{name}"), self._named(f"hq{queue}"), self._named("h")):
                    series[RUN + ran] += number
                    if wait is not None:
                        series[wait] += number
        self._alike.clear()

    def _named(self, name: str) -> defaultdict[int, int]:
        series = self._series.get(name)
        if series is None:
            name = name if len(self._series) < 3 * NAMES else name[:2]
            series = self._series.setdefault(name, defaultdict(int))
        return series

    def _failed(self, raw: bytes, name: str, jid: UUID, sealing: Sealing | None) -> None:
        failure = decode_failure(raw)
        if sealing is not None:
            try:
                failure = sealing.open_failure(failure, jid)
            except Exception:  # its key service is away; what is sealed anew each time is no error of its own
                failure = msgspec.structs.replace(failure, message=CLOSED)
        self._seen(failure, failure.message if sealing is None else CLOSED, name, jid)

    def _seen(self, failure: Failure, message: str, name: str, jid: UUID) -> None:
        key = fingerprint(failure)
        known = self._errors.get(key)
        if known is None:
            if len(self._errors) < ERRORS:
                message = normalised(message)
                self._errors[key] = Seen(
                    fingerprint=key, type=failure.type, message=message, where=failure.where,
                    count=1, names=(name,), samples=(jid,), workers=(self._worker,),
                )  # fmt: skip
            return
        names = known.names if name in known.names else (*known.names, name)[-NAMES_KEPT:]
        samples = (*known.samples, jid)[-SAMPLES_KEPT:]
        self._errors[key] = msgspec.structs.replace(known, count=known.count + 1, names=names, samples=samples)
