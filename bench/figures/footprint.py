"""What a worker costs that has nothing to do, and what it has become after many jobs."""

from __future__ import annotations

import time
from types import ModuleType

from observe import call, family, resident, store, until, wire_commands, working

from figures import Row
from figures.drain import prepare

NEEDS = ("enqueue_bulk", "left", "worker")
ROWS = [
    Row(
        "rss-idle",
        "resident MB of the heaviest worker process, idle",
        "MB",
        "idle_mb",
        {"idle_s": 60.0, "jobs": 0},
        {"idle_s": 6.0},
        NEEDS,
        ("all_mb", "commands_a_minute"),
        higher=False,
    ),
    Row(
        "rss-slope",
        "resident bytes that a worker keeps of each of 1,000,000 jobs",
        "bytes",
        "slope",
        {"jobs": 1_000_000, "idle_s": 0.0},
        {"jobs": 60_000},
        NEEDS,
        ("idle_mb", "after_mb"),
        higher=False,
        only=("procession",),
    ),
]
STEP = 50_000


def measure(contestant: ModuleType, jobs: int, idle_s: float) -> dict[str, float]:
    """Megabytes and bytes, commands a minute."""
    client = store()
    prepare(contestant)
    taken: dict[str, float] = {}
    call(contestant.enqueue_bulk, 200)
    with working(contestant) as worker:
        until(lambda: contestant.left(client) <= 0, "the first jobs", every=0.01)
        time.sleep(1.0)
        heaviest = max(family(worker.pid), key=lambda pid: resident([pid]))
        taken["idle_mb"] = resident([heaviest]) / 1e6
        taken["all_mb"] = resident(family(worker.pid)) / 1e6
        if idle_s and client is not None:
            taken["commands_a_minute"] = wire_commands(client, idle_s) * 60 / idle_s
        marks: list[tuple[int, int]] = []
        for done in range(STEP, jobs + 1, STEP):
            call(contestant.enqueue_bulk, STEP)
            until(lambda: contestant.left(client) <= 0, "a step", every=0.02)
            marks.append((done, resident([heaviest])))
        if len(marks) > 1:
            half = marks[len(marks) // 2 :] if len(marks) > 3 else marks
            taken["slope"] = (half[-1][1] - half[0][1]) / max(half[-1][0] - half[0][0], 1)
            taken["after_mb"] = marks[-1][1] / 1e6
        elif marks:
            taken["slope"] = (marks[0][1] - taken["idle_mb"] * 1e6) / jobs
            taken["after_mb"] = marks[0][1] / 1e6
    return taken
