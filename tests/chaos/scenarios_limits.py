"""Limits under fire: whoever has a slot is killed, put to sleep, or its job removed; never do too many run, and no
limit stays stuck."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle

from procession import Job, Limit, State
from procession.database import Query
from tests.chaos.fleet import Family
from tests.chaos.producer import Order, enqueue_all
from tests.chaos.scenario import STRUCK_OFTEN, scenario
from tests.chaos.stage import Stage

SLOTS = {"ada": 1, "bob": 1, "all others": 3}
"""Limits by name."""


def crowds(stage: Stage) -> list[str]:
    """The limits of which more jobs ran at once than there are slots. A run counts until it ended, its process was
    killed, or was put to sleep for longer than a lease: what such a one does when it wakes is refused."""
    changes: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    runs = stage.runs.by_job()
    for job in stage.app.ask(stage.app.database.find([*runs])):
        for run in runs[job.jid] if job is not None and job.limit else ():
            hits = [it.at for it in stage.events if run.pid in it.victims and it.at >= run.started]
            end = min([run.ended or float("inf"), *hits])
            changes[job.limit] += [(run.started, 1), (end, -1)]
    return [f"{most} jobs of {name} ran at once" for name, it in changes.items() if (most := peak(it)) > SLOTS[name]]


def peak(changes: list[tuple[float, int]]) -> int:
    """The most that were there at one moment; who goes at the moment when another comes, goes first."""
    now = most = 0
    for _, by in sorted(changes):
        now += by
        most = max(most, now)
    return most


@scenario("who has a slot of a limit is killed, sleeps for three leases, its job is removed, 12 times",
          settings={"lease": "2s", "heartbeat": "0.5s", **STRUCK_OFTEN}, afterwards=crowds)  # fmt: skip
def limit(stage: Stage) -> None:
    assault(stage, jobs=50, rounds=12)


@scenario("the same, 4 times",
          settings={"lease": "1s", "heartbeat": "0.3s", **STRUCK_OFTEN}, afterwards=crowds, short=True)  # fmt: skip
def limit_short(stage: Stage) -> None:
    assault(stage, jobs=24, rounds=4)


def assault(stage: Stage, *, jobs: int, rounds: int) -> None:
    """In each round so many jobs come, and by turns somebody who runs one is killed or stopped, or jobs are removed."""
    stage.concurrency = 4
    stage.workers(3)
    for number in range(rounds):
        enqueue(stage, jobs)
        family = stage.until(lambda: busy(stage, jobs))
        if number % 3 == 0:
            stage.vanish(family)
            stage.worker()
        elif number % 3 == 1:
            stage.suspend(family, 3 * stage.lease)
        else:
            remove_some(stage)
        stage.complaints += overfull(stage)
        time.sleep(stage.random.uniform(0.1, 0.5))


def enqueue(stage: Stage, jobs: int) -> None:
    """Jobs under all limits by turns."""
    limits = cycle(Limit(most, name=name) for name, most in SLOTS.items())
    enqueue_all([Order(stage.shop.note.using(limit=next(limits)), 0.05) for _ in range(jobs)], stage.ledger)


def busy(stage: Stage, jobs: int) -> Family | None:
    """A family that runs something; None while there is none. Where all is done already, more jobs come."""
    found = [it for it in stage.fleet.serving if stage.runs.open_on(it.pids)]
    if not found and stage.nothing_left():
        enqueue(stage, jobs)
    return stage.random.choice(found) if found else None


def there(stage: Stage, *states: State) -> Iterator[Job]:
    """The jobs of these states."""
    for state in states:
        yield from stage.app.ask(stage.app.database.page(Query(state=state))).jobs


def remove_some(stage: Stage) -> None:
    """Take out a few jobs that have a slot and are not begun, and a few that wait for one."""
    for state in (State.QUEUED, State.BLOCKED):
        for job in [*there(stage, state)][:3]:
            if stage.app.remove(job.jid):
                stage.ledger.removed(job.jid)


def overfull(stage: Stage) -> list[str]:
    """What limits have given out too many slots by now."""
    jobs = [job for job in there(stage, State.RUNNING, State.BLOCKED) if job.limit]
    known = stage.app.ask(stage.app.database.occupancy([job.jid for job in jobs]))
    pairs = zip(jobs, known, strict=True)
    return [f"{it.taken} slots of {job.limit} are taken" for job, it in pairs if it and it.taken > SLOTS[job.limit]]
