"""Latency: from just before the enqueue to the first line of the job, an idle worker, one job each 20 ms."""

from __future__ import annotations

import asyncio
import inspect
import time
from types import ModuleType

from observe import percentile, runner, stamps, until, working

from figures import Row
from figures.drain import prepare

ROWS = [
    Row(
        "latency", "latency enqueue → start, idle", "ms", "p50", {"jobs": 250}, {"jobs": 60},
        ("enqueue_stamp enqueue_stamps", "worker"), ("p99",), higher=False,
    )
]  # fmt: skip
PAUSE = 0.02
WARM = 20


def measure(contestant: ModuleType, jobs: int = 250) -> dict[str, float]:
    """Milliseconds."""
    prepare(contestant)
    with working(contestant):
        _enqueue(contestant, 1, 0.0)
        until(lambda: len(stamps()) == 1, "the worker's first job", every=0.01)
        _enqueue(contestant, jobs + WARM, PAUSE)
        until(lambda: len(stamps()) == jobs + WARM + 1, "the last stamp", every=0.01)
    taken = stamps()[-jobs:]
    return {"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99), "worst": max(taken)}


def _enqueue(contestant: ModuleType, count: int, pause: float) -> None:
    if hasattr(contestant, "enqueue_stamps"):
        contestant.enqueue_stamps(count, pause)
    else:
        runner().run(_each(contestant.enqueue_stamp, count, pause))


async def _each(enqueue: object, count: int, pause: float) -> None:
    for _ in range(count):
        answer = enqueue(time.time())  # type: ignore[operator]
        if inspect.isawaitable(answer):
            await answer
        await asyncio.sleep(pause)
