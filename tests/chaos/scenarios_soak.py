"""The soak: very many jobs, half of them failing, workers restarted all the time. Nothing is left, nothing grows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from redis import Redis

from procession import State
from tests.chaos.fleet import Family, resident
from tests.chaos.scenario import scenario
from tests.chaos.stage import NAMESPACE, Stage

BATCH = 1_000
BACKLOG = 5_000
"""Jobs that may wait: the soak is about many jobs, not about many at once."""
SAMPLED_EVERY = 5_000
GROWTH = 25.0
"""Most kB that a long-lived worker may grow per 1,000 jobs: 5 MB in 200,000, the noise of an allocator."""
COMMANDS = 500
"""Control commands in the whole soak."""
SHORT_RETENTION = {"keep_processed": "5s", "keep_failed": "5s", "keep_cancelled": "5s"}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line through these points with the least squares."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0


def _soak(stage: Stage, jobs: int, restarts: int) -> None:
    stage.concurrency = 50
    (lasting,) = stage.workers(1)
    (pid,) = {worker.pid for worker in stage.app.workers()}
    stage.workers(1)
    samples: list[tuple[float, float]] = []
    made = restarted = commanded = 0
    while made < jobs:
        if stage.app.stats().scheduled > BACKLOG:
            time.sleep(0.02)
            continue
        _batch(stage)
        made += BATCH
        if made % SAMPLED_EVERY == 0:
            samples.append((made / 1_000, resident(pid) / 1_024))
        while restarted < restarts * made // jobs:
            _restart(stage, lasting, kindly=restarted % 2 == 0)
            restarted += 1
        while commanded < COMMANDS * made // jobs:
            _command(stage, commanded)
            commanded += 1
    stage.until(stage.nothing_left, 300)
    settled = samples[len(samples) // 4 :]  # the first quarter is imports, caches and pools
    grown = slope(settled)
    stage.notes.append(
        f"{restarted} restarts; the worker that lasted has {settled[-1][1] / 1_024:.0f} MB,"
        f" growing by {grown:.1f} kB per 1,000 jobs"
    )
    if grown > GROWTH:
        stage.complaints.append(f"a worker grows by {grown:.1f} kB per 1,000 jobs, at most {GROWTH:.0f} are noise")


def _batch(stage: Stage) -> None:
    half = BATCH // 2
    stage.enqueue(half)
    stage.enqueue(half // 2, stage.shop.refuse, expected=State.FAILED)
    stage.enqueue(half - half // 2, stage.shop.flaky, 2)


def _restart(stage: Stage, lasting: Family, *, kindly: bool) -> None:
    old = next(family for family in stage.fleet.alive if family is not lasting)
    if kindly:
        old.process.terminate()
        old.process.wait(60)
    else:
        pids = old.stop()
        time.sleep(0.05)  # until what it has sent is there
        held = sum(worker.running for worker in stage.app.workers() if worker.pid in pids)
        stage.vanish(old, holding=held)  # which is what may run again, with what it claimed ahead
    stage.worker()


def _command(stage: Stage, number: int) -> None:
    match number % 4:
        case 0:
            stage.app.pause("blue", "for a moment")
            stage.app.resume("blue")
        case 1:
            (order,) = stage.enqueue(1, stage.shop.note.using(delay="1h"), expected=State.CANCELLED)
            stage.app.cancel(order.jid)
        case 2:
            stage.app.queues()
        case 3:
            stage.app.jobs(State.FAILED, limit=10)


def _nothing_is_left(stage: Stage) -> list[str]:
    """After retention the store holds what it held before the first job: names and numbers, no jobs, no workers; and
    what it measured, in keys that end by themselves."""
    database, ask = stage.app.database, stage.app.ask
    lease = round(stage.lease * 1_000)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ask(database.recover(1_000, lease=lease))
        while ask(database.prune(1_000)):
            pass
        with stage.server.client() as client:
            keys = [*client.scan_iter(match=f"{{{NAMESPACE}*", count=1_000)]
            names = {key.decode().partition("}:")[2] for key in keys if not _ends_by_itself(client, key)}
        left = {it for it in names if not it.startswith("bell:")} - {"meta", "counters", "depth", "names"}
        if not left:
            kept = ", ".join(sorted(names))
            stage.notes.append(f"{len(names)} keys left: {kept}; {len(keys) - len(names)} end by time")
            return []
        time.sleep(1.0)
    return [f"keys left after retention: {', '.join(sorted(left)[:10])}"]


def _ends_by_itself(client: Redis, key: bytes) -> bool:
    """A minute or an hour of the history, the groups of errors, or runs that ended with a worker and wait for one to
    tell of it, of which none is left: kept for days, with an end."""
    kept = (b":minute:", b":hour:", b":groups", b":deaths:")
    return any(part in key for part in kept) and cast("int", client.ttl(key)) > 0


@scenario(
    "soak: 200,000 jobs, half failing, 50 restarts, 500 commands",
    settings={**SHORT_RETENTION, "lease": "5s", "heartbeat": "1s"},
    afterwards=_nothing_is_left,
    retained=False,
    long=True,
)
def soak(stage: Stage) -> None:
    _soak(stage, jobs=200_000, restarts=50)


@scenario(
    "soak, shortened: 100,000 jobs, half failing, 6 restarts, 500 commands",
    settings={**SHORT_RETENTION, "lease": "5s", "heartbeat": "1s"},
    afterwards=_nothing_is_left,
    retained=False,
)
def soak_shortened(stage: Stage) -> None:
    _soak(stage, jobs=100_000, restarts=6)
