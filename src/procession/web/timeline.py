"""The course of one job: what happened when, and how long it waited and ran. Pure, from the record.

A record keeps when each failed attempt ended and when the last one began; earlier beginnings are not kept, so what lies
before a failure is one stretch of waiting and running.
"""

from __future__ import annotations

from msgspec import Struct

from procession.job import Job, State
from procession.web.shown import line, span

WIDTH = 1_000
"""Units of the drawing's width."""


class Stretch(Struct, frozen=True):
    """One stretch of the drawing, in its units."""

    kind: str
    """`waited`, `tried` (waited and ran, and failed), or `ran`."""
    x: float
    width: float
    says: str


class Event(Struct, frozen=True):
    """One thing that happened; `state` gives its colour and its sign."""

    at: int
    state: str
    says: str


class Timeline(Struct, frozen=True):
    """See above."""

    stretches: tuple[Stretch, ...]
    events: tuple[Event, ...]
    total: int
    """Milliseconds from the enqueuing to the end, or to the last thing that happened."""


def timeline(job: Job) -> Timeline:
    """The course of a job as far as it is kept."""
    events = [Event(job.enqueued_at, "queued", f"enqueued into “{job.queue}”")]
    marks: list[tuple[int, str, str]] = []
    for failure in job.failures:
        if failure.at:
            what = f"attempt {failure.attempt} failed: {line(f'{failure.type}: {failure.message}')}"
            events.append(Event(failure.at, "failed", what))
            marks.append((failure.at, "tried", what))
    if job.start_at:
        events.append(Event(job.start_at, "running", f"attempt {job.attempt} began"))
        marks.append((job.start_at, "waited", f"waited for attempt {job.attempt}"))
    if job.finish_at:
        ran = f" after {span(job.finish_at - job.start_at)}" if job.start_at else ""
        events.append(Event(job.finish_at, job.state.value, f"{job.state.value}{ran}"))
        if job.start_at:
            marks.append((job.finish_at, "ran", f"attempt {job.attempt} ran for {span(job.finish_at - job.start_at)}"))
    if job.due_at and job.state is State.DELAYED:
        events.append(Event(job.due_at, "delayed", "is due"))
    end = max((at for at, _, _ in marks), default=job.enqueued_at)
    return Timeline(
        _stretches(job.enqueued_at, end, sorted(marks)), tuple(sorted(events, key=lambda it: it.at)),
        max(0, end - job.enqueued_at),
    )  # fmt: skip


def _stretches(begin: int, end: int, marks: list[tuple[int, str, str]]) -> tuple[Stretch, ...]:
    found, last = [], begin
    for at, kind, says in marks:
        if at < last:
            continue
        x = WIDTH * (last - begin) / max(1, end - begin)
        width = WIDTH * (at - last) / max(1, end - begin)
        found.append(Stretch(kind, round(x, 1), round(max(2.0, width), 1), f"{says} ({span(at - last)})"))
        last = at
    return tuple(found)
