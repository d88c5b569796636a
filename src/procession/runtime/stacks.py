"""Where code is now, as text: of a thread, of a coroutine with all that it awaits, of all jobs of a worker. Bounded.

Only places and lines of source, never values. The executors ask it for their runs; it changes nothing.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any
from uuid import UUID

from procession.clock import monotonic
from procession.runtime.active import Active

FRAMES = 40
"""Innermost frames of one stack."""
JOBS = 50
"""Jobs whose stacks one answer tells, those that run longest."""


def of_thread(ident: int) -> str:
    """The stack of a thread of this process; "" when it has none."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None else "".join(traceback.StackSummary.extract(_outer(frame), lookup_lines=True).format())


def of_coroutine(coroutine: Any) -> str:
    """The stack of a coroutine that waits: itself, what it awaits, and so on."""
    frames = [(frame, frame.f_lineno) for frame in _awaited(coroutine)]
    return "".join(traceback.StackSummary.extract(iter(frames[-FRAMES:]), lookup_lines=True).format())


def _outer(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    found: list[tuple[FrameType, int]] = []
    while frame is not None and len(found) < FRAMES:
        found.append((frame, frame.f_lineno))
        frame = frame.f_back
    return iter(found[::-1])


def _awaited(waiting: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine, outermost first, through generators and async generators."""
    for _ in range(1_000):
        frame, following = None, None
        for prefix, after in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            frame = frame or getattr(waiting, f"{prefix}_frame", None)
            following = following or getattr(waiting, f"{prefix}_{after}", None)
        if frame is not None:
            yield frame
        if following is None:
            return
        waiting = following


def told(worker: str, stacks: Sequence[tuple[Active, str]], *, left: int = 0, jid: UUID | None = None) -> str:
    """One text of the stacks of a worker's jobs."""
    if not stacks:
        what = f"job {jid} does not run" if jid is not None else "nothing runs"
        return f"{what} on {worker}"
    parts = [f"{_head(active)}\n{text or '  (it has no stack now: it is about to begin or to end)'}".rstrip()
             for active, text in stacks]  # fmt: skip
    return "\n\n".join([*parts, *([f"… and {left} more jobs"] if left else [])])


def _head(active: Active) -> str:
    run = active.run
    stopped = f", told to stop ({run.stopped})" if run.stopped else ""
    return (
        f"{run.registered.name} {run.claimed.jid} attempt {run.claimed.attempt},"
        f" for {monotonic() - active.started:.1f} s, {active.executor.kind}{stopped}"
    )
