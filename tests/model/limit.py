"""A limit with one slot and two jobs under it, as a small machine, and every order of all that may happen to them.

As `design.py` does for the life of one job: a `Design` is a set of guards, each one that is False is an error planted
on purpose. Two queue workers may die, be paused, and hear no answer; a person may remove a job. Two kinds of breach:
two jobs are under way at once, or the jobs can never all end although nothing further goes wrong. What runs on in a
worker that was paused for longer than its lease counts no more; the fence refuses what it says.
`python -m tests.model.limit` prints the table that docs/limits.md shows, with the ways.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

JOBS, WORKERS, ATTEMPTS, CRASHES, FAULTS = 2, 2, 2, 2, 2
UNDER_WAY, ENDED = ("queued", "running"), ("final", "gone")
CROWD, STUCK = "two jobs are under way at once", "a job waits for ever"


class Design(NamedTuple):
    """What is built in. All True is the library as it is."""

    due_jobs_ask: bool = True
    handed_on_in_the_same_script: bool = True
    given_back_by_the_current_claim: bool = True
    recovery_keeps_the_slot: bool = True
    poison_gives_back: bool = True
    removal_gives_back: bool = True
    blocked_ones_leave_the_line: bool = True
    never_runs_out: bool = True
    """A slot has no lifetime after which it is free whatever its job does."""


class Job(NamedTuple):
    """One job in the store; `turn` is where it stands in the line, 0 when it does not wait."""

    state: str = "new"
    owner: int = -1
    token: int = 0
    runs: int = 0
    crashes: int = 0
    turn: int = 0


class Worker(NamedTuple):
    """A queue worker with one place: which job it runs under which token, and what it came to."""

    life: str = "up"
    job: int = -1
    token: int = 0
    outcome: str = ""


class World(NamedTuple):
    """Everything at one moment; who has the slot is a set of jobs."""

    jobs: tuple[Job, ...] = (Job(),) * JOBS
    slot: frozenset[int] = frozenset()
    owed: int = -1
    """The worker that gave a slot back and has yet to hand it on, in a design where that is another step."""
    workers: tuple[Worker, ...] = (Worker(),) * WORKERS
    claims: int = 0
    faults: int = 0

    def job(self, at: int, **changes: Any) -> World:
        return self._replace(jobs=(*self.jobs[:at], self.jobs[at]._replace(**changes), *self.jobs[at + 1 :]))

    def worker(self, at: int, **changes: Any) -> World:
        return self._replace(
            workers=(*self.workers[:at], self.workers[at]._replace(**changes), *self.workers[at + 1 :])
        )


Step = tuple[str, World, bool]
"""A name, the world that it leads to, and whether it is a fault."""


# The moves


def admitted(world: World, at: int) -> World:
    """A job is ready: it takes the slot, or its place in the line."""
    if world.slot or world.owed >= 0:
        return world.job(at, state="blocked", turn=1 + max(job.turn for job in world.jobs))
    return world.job(at, state="queued")._replace(slot=frozenset({at}))


def given_back(design: Design, world: World, at: int, by: int = -1) -> World:
    """A job is no longer under way: its slot goes to the first in the line."""
    world = world._replace(slot=world.slot - {at})
    return handed_on(world) if by < 0 or design.handed_on_in_the_same_script else world._replace(owed=by)


def handed_on(world: World) -> World:
    """The first in the line gets the slot, if it is free. In a line that nobody leaves, the first may be gone."""
    line = sorted((job.turn, at) for at, job in enumerate(world.jobs) if job.turn)
    world = world._replace(owed=-1)
    if world.slot or not line:
        return world
    _, at = line[0]
    if world.jobs[at].state != "blocked":
        return world.job(at, turn=0)._replace(slot=frozenset({at}))
    return world.job(at, turn=0, state="queued")._replace(slot=frozenset({at}))


def settled(design: Design, world: World, at: int) -> World:
    """A worker tells an outcome. It counts if the claim does."""
    worker = world.workers[at]
    job = world.jobs[worker.job]
    if (job.state, job.token) != ("running", worker.token):
        return world if design.given_back_by_the_current_claim else given_back(design, world, worker.job, at)
    world = world.job(worker.job, state=worker.outcome, owner=-1, token=0)
    return given_back(design, world, worker.job, at)


def recovered(design: Design, world: World, at: int) -> World:
    """What a worker ran is taken back: ready again at once, with its slot, or failed after too many crashes."""
    for number, job in enumerate(world.jobs):
        if job.state == "running" and job.owner == at:
            crashes = job.crashes + 1
            world = world.job(number, owner=-1, token=0, crashes=crashes)
            if crashes == CRASHES:
                world = world.job(number, state="final")
                world = given_back(design, world, number) if design.poison_gives_back else world
            else:
                world = world.job(number, state="queued")
                world = world if design.recovery_keeps_the_slot else given_back(design, world, number)
    return world


# What may happen next


def steps(design: Design, world: World) -> Iterator[Step]:
    """All that may happen in this world."""
    fail = world.faults < FAULTS
    faulty = world._replace(faults=world.faults + 1)
    for at, job in enumerate(world.jobs):
        if job.state == "new" and all(it.state != "new" for it in world.jobs[:at]):
            yield f"job {at} is enqueued", admitted(world, at), False
        if job.state == "delayed":
            due = admitted(world, at) if design.due_jobs_ask else world.job(at, state="queued")
            yield f"job {at} is due", due, False
        if fail and job.state in ("queued", "blocked", "delayed"):
            gone = faulty.job(at, state="gone", turn=job.turn * (not design.blocked_ones_leave_the_line))
            if job.state == "queued" and design.removal_gives_back:
                gone = given_back(design, gone, at)
            yield f"job {at} is removed", gone, True
        if job.state == "running" and not design.never_runs_out:
            yield f"the slot of job {at} runs out", given_back(design, world, at), False
    for at, worker in enumerate(world.workers):
        yield from works(design, world, at, worker)
        if not fail:
            continue
        if worker.life != "dead":
            died = faulty._replace(owed=-1) if world.owed == at else faulty
            yield f"worker {at} dies", died.worker(at, life="dead", job=-1, token=0, outcome=""), True
        if worker.life == "up":
            yield f"worker {at} is paused", faulty.worker(at, life="paused"), True


def works(design: Design, world: World, at: int, worker: Worker) -> Iterator[Step]:
    """A worker claims, runs and settles; one that shows no life is taken back from, and is replaced or wakes."""
    if worker.life != "up":
        holds = any(job.state == "running" and job.owner == at for job in world.jobs)
        if holds:
            yield f"recovery takes back from worker {at}", recovered(design, world, at), False
        if worker.life == "paused" or not holds:
            again = "wakes" if worker.life == "paused" else "is replaced"
            yield f"worker {at} {again}", world.worker(at, life="up"), False
        return
    if world.owed == at:
        yield f"worker {at} hands the slot on", handed_on(world), False
    if worker.outcome:
        told = settled(design, world, at)
        yield f"worker {at} settles", told.worker(at, job=-1, token=0, outcome=""), False
        if world.faults < FAULTS:
            yield f"worker {at} settles, reply lost", told._replace(faults=world.faults + 1), True
    elif worker.job >= 0:
        runs = world.jobs[worker.job].runs
        yield f"worker {at}: the job returns", world.worker(at, outcome="final"), False
        yield f"worker {at}: it raises", world.worker(at, outcome="delayed" if runs < ATTEMPTS else "final"), False
    else:
        for number, job in enumerate(world.jobs):
            if job.state == "queued":
                claimed = world._replace(claims=world.claims + 1).worker(at, job=number, token=world.claims + 1)
                runs = job.runs + 1
                claimed = claimed.job(number, state="running", owner=at, token=claimed.claims, runs=runs)
                yield f"worker {at} claims job {number}", claimed, False


def canonical(world: World) -> World:
    """The world that stands for all that differ in the numbers of claims and turns."""
    order = sorted({0, *(job.token for job in world.jobs), *(it.token for it in world.workers)})
    turns = sorted({0, *(job.turn for job in world.jobs)})
    token, turn = {old: new for new, old in enumerate(order)}, {old: new for new, old in enumerate(turns)}
    jobs = tuple(job._replace(token=token[job.token], turn=turn[job.turn]) for job in world.jobs)
    workers = tuple(it._replace(token=token[it.token]) for it in world.workers)
    return world._replace(jobs=jobs, workers=workers, claims=len(order) - 1)


class Found(NamedTuple):
    """How far a search came, and the way to the breach."""

    worlds: int
    breach: str
    path: list[str]


def search(design: Design) -> Found:
    """Try everything, breadth first, so that the first breach is a shortest one."""
    first = World()
    came_from: dict[World, tuple[World, str]] = {}
    led_from: dict[World, list[World]] = {}
    seen, waiting = {first}, deque([first])

    def way(world: World, *last: str) -> list[str]:
        names = [*last]
        while world != first:
            world, name = came_from[world]
            names.insert(0, name)
        return names

    while waiting:
        world = waiting.popleft()
        for name, then, fault in steps(design, world):
            if sum(job.state in UNDER_WAY for job in then.jobs) > 1:
                return Found(len(seen), CROWD, way(world, name))
            then = canonical(then)
            if not fault:
                led_from.setdefault(then, []).append(world)
            if then not in seen:
                seen.add(then)
                came_from[then] = world, name
                waiting.append(then)
    ending = {world for world in seen if all(job.state in ENDED for job in world.jobs)}
    waiting = deque(ending)
    while waiting:
        for before in led_from.get(waiting.popleft(), ()):
            if before not in ending:
                ending.add(before)
                waiting.append(before)
    stuck = next((world for world in came_from if world not in ending), None)
    return Found(len(seen), "", []) if stuck is None else Found(len(seen), STUCK, way(stuck))


CASES = (
    ("as it is", Design(), ""),
    ("a job that is due does not ask for a slot", Design(due_jobs_ask=False), CROWD),
    ("the slot is handed on in a step of its own", Design(handed_on_in_the_same_script=False), STUCK),
    ("an outcome that is refused gives the slot back", Design(given_back_by_the_current_claim=False), CROWD),
    ("recovery gives the slot back", Design(recovery_keeps_the_slot=False), CROWD),
    ("a job that fails as poison keeps its slot", Design(poison_gives_back=False), STUCK),
    ("a job that is removed keeps its slot", Design(removal_gives_back=False), STUCK),
    ("a blocked job that is removed keeps its turn", Design(blocked_ones_leave_the_line=False), STUCK),
    ("a slot has a lifetime", Design(never_runs_out=False), CROWD),
)
"""A name, a design, and what is expected to break."""


def row(name: str, found: Found) -> str:
    """One line of the table."""
    return f"| {name} | {found.worlds:,} | {found.breach or 'nothing'} | {len(found.path) or ''} |"


def main() -> int:
    """Print the table and the ways; 1 when a case did not come out as expected."""
    found = {name: search(design) for name, design, _ in CASES}
    print("\n".join(["| design | worlds | breaks | in steps |", "|---|--:|---|--:|", *map(row, found, found.values())]))
    for name, it in found.items():
        if it.path:
            steps_told = (f"  {number}. {step}" for number, step in enumerate(it.path, start=1))
            print(f"\n{name}: {it.breach}", *steps_told, sep="\n")
    return int(any(found[name].breach != breaks for name, _, breaks in CASES))


if __name__ == "__main__":
    sys.exit(main())
