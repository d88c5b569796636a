"""Jobs that keep a core busy, on two processes, beside a bare `concurrent.futures.ProcessPoolExecutor`.

Means something on a machine without other work only: the kernel divides a busy one by sessions, and a worker family has
more of them than the pool. Who looks how many are left is such work, too, and nobody looks at the pool: at 500 looks a
second it took 4 % of both cores away from us.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

from bodies import burn
from observe import call, store, until, working

from figures import Row
from figures.drain import prepare

ROUNDS = 200_000
LOOK = 0.02
"""Seconds between two looks at what is left; the jobs take some seconds."""
ROWS = [
    Row(
        name, f"CPU-bound jobs, {words}, two processes", "% of a bare pool", "part", many, few,
        ("enqueue_burns", "left", "worker"),
    )
    for name, words, many, few in (
        ("cpu", "13 ms each on a fast machine", {"jobs": 600}, {"jobs": 60}),
        ("cpu-short", "1 ms each", {"jobs": 6_000, "rounds": ROUNDS // 13}, {"jobs": 600}),
    )
]  # fmt: skip


def measure(contestant: ModuleType, jobs: int = 600, rounds: int = ROUNDS) -> dict[str, float]:
    """Per cent of the bare pool's rate just before and just after."""
    client = store()
    prepare(contestant)
    call(contestant.enqueue_burns, jobs, rounds)
    before = bare(jobs, rounds)
    with working(contestant, burning=2):
        until(lambda: contestant.left(client) <= jobs * 0.9, "the first jobs", every=LOOK)
        began, first = time.perf_counter(), contestant.left(client)
        until(lambda: contestant.left(client) <= 0, "the last job", every=LOOK)
        ours = first / (time.perf_counter() - began)
    rate = (before + bare(jobs, rounds)) / 2
    return {"part": ours / rate * 100, "per_second": ours, "bare": rate}


def bare(jobs: int, rounds: int) -> float:
    """Jobs a second of a pool in a session of its own."""
    program = "from figures.cpu import pool; import sys; print(pool(*map(int, sys.argv[1:])))"
    run = subprocess.run(
        [sys.executable, "-c", program, str(jobs), str(rounds)],
        cwd=Path(__file__).parents[1], start_new_session=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(run.stdout)


def pool(jobs: int, rounds: int) -> float:
    """Jobs a second of two warm processes of `concurrent.futures`."""
    with ProcessPoolExecutor(2) as executor:
        list(executor.map(burn, [1_000] * 8))
        began = time.perf_counter()
        list(executor.map(burn, [rounds] * jobs))
        return jobs / (time.perf_counter() - began)
