"""When a worker process should make way for a fresh one: after so many jobs, so long, or so much memory.

Leaks are in the jobs' code and the libraries it uses; a process that is replaced now and then gives the memory back.
All bounds are off by default. Asked by the queue worker at each heartbeat; decides, and does nothing.
"""

from __future__ import annotations

import os
import random
import resource
import sys
from pathlib import Path

from msgspec import Struct

from procession.clock import milliseconds
from procession.config import Settings
from procession.sizes import size

SPREAD = 0.9
"""A worker draws its own bounds of jobs and age between this part of what was asked and the whole, so that workers
that began together are not worn out together."""


class Wear(Struct, frozen=True, kw_only=True):
    """The bounds of one worker process; 0 lifts one."""

    max_jobs: int = 0
    max_age: float = 0.0
    """Seconds."""
    max_rss: int = 0
    """Bytes."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        max_jobs: int | None = None,
        max_age: float | str | None = None,
        max_rss: int | str | None = None,
    ) -> Wear:
        """The bounds of one worker, drawn within what is given, else within the settings."""
        part = random.uniform(SPREAD, 1.0)
        jobs = settings.max_jobs if max_jobs is None else max_jobs
        age = milliseconds(settings.max_age if max_age is None else max_age, "max_age") / 1_000
        return cls(
            max_jobs=max(round(jobs * part), min(jobs, 1)),
            max_age=age * part,
            max_rss=size(settings.max_rss if max_rss is None else max_rss, "max_rss"),
        )

    def out(self, *, jobs: int, age: float) -> str:
        """Why the worker is worn out, or ""."""
        if self.max_jobs and jobs >= self.max_jobs:
            return f"it has performed {jobs} jobs"
        if self.max_age and age >= self.max_age:
            return f"it is {age:.0f} s old"
        if self.max_rss and (held := resident()) >= self.max_rss:
            return f"it holds {held / 1e6:.0f} MB"
        return ""


def resident() -> int:
    """Resident memory of this process in bytes; where the system only knows the peak, the peak."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024)
