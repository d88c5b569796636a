"""A schedule as a small machine: two workers that look and fire, an editor, and all that may come between.

Three instants become due one after the other; each is to be fired once, by a decision that was made from what the
schedule says when it is applied. As in `design.py`, what is one script in the library is one step here. Searched by
`exhaustive.py`; nothing here imports the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.design import Step, put

INSTANTS = 3
TWICE = "an instant is fired twice"
STALE = "a run of what the schedule said before"
PAUSED = "a paused schedule is fired"
NEVER = "an instant is passed over"


class Guards(NamedTuple):
    """What is built in."""

    fires_in_one_script: bool = True
    """Jobs are inserted and the next instant is moved on together."""
    names_the_instant: bool = True
    """A decision is applied only while the schedule is due at the instant that it was made for."""
    remembers_the_last: bool = True
    """An instant up to the last that was decided inserts nothing."""
    names_what_was_asked: bool = True
    looks_for_a_pause: bool = True


class Decision(NamedTuple):
    """What a look came to."""

    slot: int
    asked: int


class Timetable(NamedTuple):
    """The store, the workers, the world outside."""

    now: int = 0
    """The last instant that is due."""
    next: int = 1
    last: int = 0
    asked: int = 0
    paused: bool = False
    fired: tuple[int, ...] = (0,) * INSTANTS
    excused: int = 0
    """Instants up to this one need not be fired: who edits or resumes begins anew."""
    workers: tuple[Decision | None, Decision | None] = (None, None)
    half: tuple[Decision | None, Decision | None] = (None, None)
    """In two steps: the next instant was moved on, the job is not there yet."""
    late: frozenset[Decision] = frozenset()
    pauses: int = 0
    faults: int = 0
    broken: str = ""


def fire(guards: Guards, world: Timetable, it: Decision) -> Timetable:
    """The store after a decision was applied, or was not."""
    if guards.names_what_was_asked and it.asked != world.asked:
        return world
    if guards.looks_for_a_pause and world.paused:
        return world
    if guards.names_the_instant and it.slot != world.next:
        return world
    moved = world._replace(next=it.slot + 1, last=max(world.last, it.slot))
    if guards.remembers_the_last and it.slot <= world.last:
        return moved
    return inserted(moved, it)


def inserted(world: Timetable, it: Decision) -> Timetable:
    """The job of an instant is stored. Its record may be gone by the next time: nobody counts on it."""
    fired = put(world.fired, it.slot - 1, min(world.fired[it.slot - 1] + 1, 2))
    broken = world.broken
    if it.asked != world.asked:
        broken = STALE
    elif world.paused:
        broken = PAUSED
    elif fired[it.slot - 1] > 1:
        broken = TWICE
    return world._replace(fired=fired, broken=broken)


def firing_steps(guards: Guards, world: Timetable, *, faults: int) -> Iterator[Step]:
    """All that may happen next."""
    fail = world.faults < faults
    if world.now < INSTANTS:
        yield Step("an instant is due", world._replace(now=world.now + 1))
    for at in (0, 1):
        yield from look_and_fire(guards, world, at, fail)
    for it in sorted(world.late):
        yield Step("a late decision arrives", fire(guards, world, it)._replace(late=world.late - {it}))
    if world.asked == 0:
        for read in {world.now, max(world.now - 1, 0)}:  # the second by who read the clock before
            edited = world._replace(asked=1, next=read + 1, excused=max(world.excused, world.now))
            yield Step("the schedule is changed", edited)
    if not world.paused and world.pauses < 1:
        yield Step("the schedule is paused", world._replace(paused=True, pauses=world.pauses + 1))
    if world.paused:
        resumed = world._replace(paused=False, next=world.now + 1, excused=max(world.excused, world.now))
        yield Step("the schedule is resumed", resumed)


def look_and_fire(guards: Guards, world: Timetable, at: int, fail: bool) -> Iterator[Step]:
    """One worker looks at what is due, decides, and asks the store to apply it."""
    name, mine, half = f"worker {at}", world.workers[at], world.half[at]
    if mine is None and half is None and world.next <= world.now and not world.paused:
        decided = put(world.workers, at, Decision(world.next, world.asked))
        yield Step(f"{name} looks and decides", world._replace(workers=decided))
    if mine is not None:
        idle = put(world.workers, at, None)
        if guards.fires_in_one_script:
            yield Step(f"{name} fires", fire(guards, world, mine)._replace(workers=idle))
        elif mine == (world.next, world.asked) and not world.paused:
            moved = world._replace(next=mine.slot + 1, last=mine.slot, workers=idle, half=put(world.half, at, mine))
            yield Step(f"{name} moves the next instant on", moved)
        else:
            yield Step(f"{name} comes too late", world._replace(workers=idle))
        if fail:
            away = world._replace(workers=idle, faults=world.faults + 1)
            yield Step(f"{name} fires, on its way for long", away._replace(late=world.late | {mine}), fault=True)
            yield Step(f"{name} dies", away, fault=True)
    if half is not None:
        done = world._replace(half=put(world.half, at, None))
        yield Step(f"{name} inserts the job", inserted(done, half))
        if fail:
            yield Step(f"{name} dies", done._replace(faults=world.faults + 1), fault=True)


class FiringCase(NamedTuple):
    """See `exhaustive.Case`."""

    name: str
    guards: Guards = Guards()
    breaks: str = ""
    faults: int = 2

    def first(self) -> Timetable:
        return Timetable()

    def steps(self, world: Timetable) -> Iterator[Step]:
        return firing_steps(self.guards, world, faults=self.faults)

    def canonical(self, world: Timetable) -> Timetable:
        """The workers differ in nothing but their names."""
        both = sorted(zip(world.workers, world.half, strict=True), key=lambda it: (it[0] or (), it[1] or ()))
        (one, first), (two, second) = both
        return world._replace(workers=(one, two), half=(first, second))

    def breach(self, before: Timetable, step: Step) -> str:
        world: Timetable = step.world
        if world.broken:
            return world.broken
        under_way = any(world.half)
        passed = range(world.excused + 1, world.last + 1)
        return NEVER if not under_way and any(not world.fired[slot - 1] for slot in passed) else ""

    def is_over(self, world: Timetable) -> bool:
        return world.now == INSTANTS and world.next > INSTANTS and not world.paused and not any(world.half)


NEITHER = Guards(names_the_instant=False, remembers_the_last=False)

FIRING_CASES = (
    FiringCase("schedule: as it is"),
    FiringCase("schedule: move the next instant on, then insert the job", Guards(fires_in_one_script=False), NEVER),
    FiringCase("schedule: a decision does not name what was asked", Guards(names_what_was_asked=False), STALE),
    FiringCase("schedule: a decision does not look for a pause", Guards(looks_for_a_pause=False), PAUSED),
    FiringCase("schedule: the last instant is not remembered", Guards(remembers_the_last=False), TWICE),
    FiringCase("schedule: a decision does not name its instant", Guards(names_the_instant=False)),
    FiringCase("schedule: the same, and the last is not remembered", NEITHER, TWICE),
)
