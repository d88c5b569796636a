"""Every order of every step of a design: what it promises, and a shortest way to break one that lacks a guard. Of one
job (`design.py`), of a unique key (`unique_design.py`), of a schedule (`firing_design.py`).

`python -m tests.model.exhaustive` prints the table that docs/reliability.md shows, with the counterexamples; a number
behind it is how many faults more each case may meet (with 1 it takes minutes). The search is breadth first, so the
first breach is a shortest one. Two kinds of breach: a world that contradicts a promise, and a world from which the job
cannot end any more although nothing further goes wrong (found backwards from all worlds where it ended).
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from tests.model.design import FINAL, Design, Step, Store, World, steps
from tests.model.firing_design import FIRING_CASES
from tests.model.sameness import canonical
from tests.model.unique_design import UNIQUE_CASES

ENDED = (*FINAL, "forgotten")
W, S = TypeVar("W"), TypeVar("S", covariant=True)


class Case(NamedTuple):
    """A design, the faults it meets, and what is expected to break (nothing: "")."""

    name: str
    design: Design
    breaks: str = ""
    faults: int = 2
    failover: bool = False

    def steps(self, world: World) -> Iterator[Step]:
        """What may happen next."""
        return steps(self.design, world, faults=self.faults, failover=self.failover)

    def canonical(self, world: World) -> World:
        """What stands for this world; a counter's numbers are no mere names."""
        return canonical(world) if self.design.token_is_random else world

    def first(self) -> World:
        """Where everything begins."""
        return World()

    def breach(self, before: World, step: Step) -> str:
        """The promise that this step breaks; "" for none."""
        return breach(self.design, before, step)

    def is_over(self, world: World) -> bool:
        """Nothing more has to happen here."""
        return world.store.state in ENDED


class Model(Protocol[W, S]):
    """What can be searched."""

    @property
    def name(self) -> str: ...

    def steps(self, world: W) -> Iterator[S]: ...

    def canonical(self, world: W) -> W: ...

    def first(self) -> W: ...

    def breach(self, before: W, step: S) -> str: ...

    def is_over(self, world: W) -> bool: ...


class Found(NamedTuple):
    """How far the search came, and the way to the breach."""

    worlds: int
    breach: str
    path: list[str]
    seconds: float


LOST = "an acknowledged job is gone"
PLACE = "the job is not in exactly one place"
OLDER = "the outcome of an older claim took effect"
FINAL_MOVED = "a final job moved again"
TOO_OFTEN = "more runs than attempts and crashes allow"
NEEDLESS = "a job runs again though no fault forced it"
TWINS = "one jid became two jobs"
GOES_ON = "a run that lost its lease goes on after its heartbeat"
UNTRUE = "an outcome is called accepted that never took effect"
STRANDED = "the job can never end"

NEITHER = Design(repeats_claims=False, gives_strangers_back=False)
COUNTER = Design(token_is_random=False, repeats_claims=False)

CASES = (
    Case("as it is", Design()),
    Case("as it is; failover, acknowledged when the replica has it", Design(), faults=1, failover=True),
    Case("failover, acknowledged by the primary alone", Design(waits_for_replica=False), LOST, 1, True),
    Case("claim: pop, then write who has it", Design(claim_is_one_script=False), PLACE),
    Case("claim by a blocking pop", Design(claim_is_no_pop=False), PLACE),
    Case("settle: let go, then write the outcome", Design(settle_is_one_script=False), PLACE),
    Case("settle asks for no token", Design(settle_is_fenced=False), OLDER),
    Case("a repeated settle asks for no token", Design(repeat_is_fenced=False), UNTRUE),
    Case("token is a counter in the store; failover", COUNTER, OLDER, 1, True),
    Case("a heartbeat revives jobs that were taken back", Design(heartbeat_revives_nothing=False), OLDER),
    Case("a heartbeat does not compare", Design(drops_lost_runs=False), GOES_ON),
    Case("recovery reads, then moves", Design(recovery_is_one_script=False), PLACE),
    Case("no grace after an outage", Design(waits_a_grace=False), NEEDLESS),
    Case("attempts counted when a run fails", Design(attempt_counts_at_claim=False), TOO_OFTEN),
    Case("crashes not counted", Design(crash_counts_at_recovery=False, attempts=1), TOO_OFTEN),
    Case("enqueue does not know its jid", Design(jid_is_unique=False), TWINS),
    Case("a late claim takes a job", Design(late_claims_take_nothing=False), OLDER),
    Case("the claim under way counts as a stranger", Design(spares_the_claim_under_way=False), NEEDLESS),
    Case("a claim is repeated with a new token", Design(repeats_claims=False), faults=1),
    Case("the same, and strangers are not given back", NEITHER, STRANDED, 1),
)


def breach(design: Design, before: World, step: Step) -> str:
    """The promise that this step breaks, or the world that it leads to; "" for none."""
    world, store = step.world, step.world.store
    if world.broken:
        return world.broken
    if world.producer == "acknowledged" and store.state == "none":
        return LOST
    if store.copies > 1:
        return TWINS
    midway = any(me.life != "dead" and me.doing in ("popped", "half settled") for me in world.workers)
    if not midway and not in_one_place(store):
        return PLACE
    if world.runs > design.most_runs and not world.failovers:
        return TOO_OFTEN
    if world.runs > 1 + world.failures + world.excuses:
        return NEEDLESS
    if before.store.state in FINAL and store.state not in (before.store.state, "forgotten"):
        return "" if world.failovers > before.failovers else FINAL_MOVED
    return ""


def in_one_place(store: Store) -> bool:
    """The state, the lane, the held sets and the leases tell the same."""
    if store.state == "queued":
        return store.lane == 1 and not any(store.held)
    if store.state == "running":
        mine = [at for at, held in enumerate(store.held) if held]
        return store.lane == 0 and mine == [store.owner] and store.leases[store.owner] != "none"
    return store.lane == 0 and not any(store.held)


def search(case: Model[Any, Any]) -> Found:
    """Try everything; stop at the first breach."""
    started = time.perf_counter()
    first = case.first()
    came_from: dict[Any, Any] = {first: None}
    led_from: dict[Any, list[Any]] = {}
    same: dict[Any, Any] = {}
    waiting = deque([first])

    def found(wrong: str, world: Any) -> Found:
        path = retold(case, way(came_from, world), wrong) if wrong else []
        return Found(len(came_from), wrong, path, time.perf_counter() - started)

    while waiting:
        world = waiting.popleft()
        for step in case.steps(world):
            wrong = case.breach(world, step)
            if wrong:
                return found(wrong, world)
            then = same.get(step.world)
            if then is None:
                then = same[step.world] = case.canonical(step.world)
            if not step.fault:
                led_from.setdefault(then, []).append(world)
            if then not in came_from:
                came_from[then] = world
                waiting.append(then)
    ending = can_end(case, came_from, led_from)
    stranded = next((world for world in came_from if world not in ending), None)
    return found("", first) if stranded is None else found(STRANDED, stranded)


def can_end(case: Model[Any, Any], worlds: Iterable[Any], led_from: dict[Any, list[Any]]) -> set[Any]:
    """The worlds from which everything still comes to its end, if nothing more goes wrong."""
    ending = {world for world in worlds if case.is_over(world)}
    waiting = deque(ending)
    while waiting:
        for world in led_from.get(waiting.popleft(), ()):
            if world not in ending:
                ending.add(world)
                waiting.append(world)
    return ending


def way(came_from: dict[Any, Any], world: Any) -> list[Any]:
    """The worlds from the beginning to this one."""
    worlds = [world]
    while (before := came_from[worlds[-1]]) is not None:
        worlds.append(before)
    return worlds[::-1]


def retold(case: Model[Any, Any], worlds: list[Any], wrong: str) -> list[str]:
    """The names of the steps on a way, each worker under the name that it had at first."""
    told, names = worlds[0], []
    for world in worlds[1:]:
        step = next(step for step in case.steps(told) if case.canonical(step.world) == world)
        told = step.world
        names.append(step.name)
    if wrong != STRANDED:
        names.append(next(step.name for step in case.steps(told) if case.breach(told, step) == wrong))
    return names


def row(case: Model[Any, Any], found: Found) -> str:
    """One line of the table."""
    return f"| {case.name} | {found.worlds:,} | {found.breach or 'nothing'} | {len(found.path) or ''} |"


def main(deeper: int) -> int:
    """Print the table and the ways; 1 when a case did not come out as expected."""
    surprises, ways = 0, []
    print("| design | worlds | breaks | in steps |\n|---|--:|---|--:|")
    for case in (*CASES, *UNIQUE_CASES, *FIRING_CASES):
        found = search(case._replace(faults=case.faults + deeper))
        surprises += found.breach != case.breaks
        print(row(case, found), flush=True)
        if found.path:
            ways.append((case.name, found))
    for name, found in ways:
        print(f"\n{name}: {found.breach}")
        for number, step in enumerate(found.path, start=1):
            print(f"  {number}. {step}")
    return min(surprises, 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
