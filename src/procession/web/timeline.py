"""The course of one job: what happened when, and how long it waited and ran. Pure, from the record.

A record keeps when the last attempt began and ended, and of earlier ones their errors, with a time where one is known;
so what lies before the last attempt is one stretch of waiting and running.
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
    """0 when it is not known."""
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
    last = ""
    for failure in job.failures:
        error = line(f"{failure.type}: {failure.message}")
        if job.finish_at and failure.attempt == job.attempt and job.state is State.FAILED:
            last = f": {error}"
            continue
        events.append(Event(failure.at, "retried", f"attempt {failure.attempt} failed: {error}"))
        if failure.at:
            marks.append((failure.at, "tried", f"attempt {failure.attempt} failed"))
    if job.start_at:
        events.append(Event(job.start_at, "running", f"attempt {job.attempt} began"))
        marks.append((job.start_at, "waited", f"until attempt {job.attempt}"))
    if job.finish_at:
        until_then = job.ran is not None and job.start_at + job.ran == job.finish_at
        ran = f" after {span(job.finish_at - job.start_at)}" if until_then else ""
        events.append(Event(job.finish_at, job.state.value, f"{job.state.value}{ran}{last}"))
        if until_then:
            marks.append((job.finish_at, "ran", f"attempt {job.attempt} ran"))
        elif job.start_at:
            marks.append((job.finish_at, "waited", f"until it was {job.state.value}"))
    if job.due_at and job.state is State.DELAYED:
        events.append(Event(job.due_at, "delayed", "is due"))
    end = max((at for at, _, _ in marks), default=job.enqueued_at)
    total = max(0, end - job.enqueued_at)
    return Timeline(_stretches(job.enqueued_at, end, sorted(marks)), tuple(events), total)


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
