"""A unique key as a small machine: two producers that ask for the same, each for a job of its own, and all that may
come between: replies that are lost, questions that come late, runs that fail, retries by hand, retention.

One key, held until its job is done. As in `design.py`, what is one script in the library is one step here, and a
`Rules` with a False is an error planted on purpose. Searched by `exhaustive.py`; nothing here imports the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.design import Step, put

LIVE, NOBODY = ("queued", "running"), -1
TWO = "two jobs with one key wait or run"
TURNED_AWAY = "a job is turned away though nobody holds its key"
AGAIN = "a job that came to its end is stored anew"
UNHELD = "a job that waits or runs does not hold its key"


class Rules(NamedTuple):
    """What is built in."""

    looks_and_stores_at_once: bool = True
    asks_the_holder: bool = True
    """The entry of a key counts while its job is there and live."""
    lets_go_of_its_own: bool = True
    """A job that is forgotten takes the key's entry along only if it is its own."""
    retry_asks_for_the_key: bool = True
    knows_its_jid: bool = True


class Keys(NamedTuple):
    """The store, and both producers."""

    states: tuple[str, str] = ("none", "none")
    """Of the two jobs: none, queued, running, done, failed, gone."""
    entry: int = NOBODY
    """Whose jid stands with the key."""
    producers: tuple[str, str] = ("new", "new")
    """new, unknown (the reply was lost), stored, turned away."""
    looked: tuple[bool, bool] = (False, False)
    """It has seen that nobody holds the key, and has not stored yet."""
    late: frozenset[int] = frozenset()
    """Enqueues on their way whose askers gave up."""
    faults: int = 0
    retries: int = 0
    broken: str = ""


def held(rules: Rules, world: Keys) -> bool:
    """The store says that somebody holds the key."""
    if world.entry == NOBODY:
        return False
    return world.states[world.entry] in LIVE if rules.asks_the_holder else True


def enqueue(rules: Rules, world: Keys, who: int) -> tuple[Keys, str]:
    """The store after an enqueue, and its answer."""
    if world.states[who] != "none" and rules.knows_its_jid:
        return world, "stored"
    if held(rules, world):
        unheld = not any(state in LIVE for state in world.states)
        return world._replace(broken=TURNED_AWAY if unheld else ""), "turned away"
    return world._replace(states=put(world.states, who, "queued"), entry=who), "stored"


def keys_steps(rules: Rules, world: Keys, *, faults: int) -> Iterator[Step]:
    """All that may happen next."""
    fail = world.faults < faults
    for who in (0, 1):
        name, told = f"job {who}", world.producers[who]
        if told in ("new", "unknown"):
            if not rules.looks_and_stores_at_once and world.states[who] == "none" and not world.looked[who]:
                if not held(rules, world):
                    yield Step(f"{name}: the key is looked at", world._replace(looked=put(world.looked, who, True)))
            elif world.looked[who]:
                stored = world._replace(states=put(world.states, who, "queued"), entry=who)
                stored = stored._replace(looked=put(world.looked, who, False))
                yield Step(f"{name} is stored", stored._replace(producers=put(world.producers, who, "stored")))
            else:
                then, answer = enqueue(rules, world, who)
                yield Step(f"{name} is enqueued", then._replace(producers=put(world.producers, who, answer)))
                if fail:
                    lost = then._replace(producers=put(world.producers, who, "unknown"), faults=world.faults + 1)
                    yield Step(f"{name} is enqueued, reply lost", lost, fault=True)
                    away = world._replace(producers=put(world.producers, who, "unknown"), faults=world.faults + 1)
                    late = away._replace(late=world.late | {who})
                    yield Step(f"{name} is enqueued, on its way for long", late, fault=True)
        if who in world.late:
            then, _ = enqueue(rules, world, who)
            yield Step(f"a late enqueue of {name} arrives", then._replace(late=world.late - {who}))
        yield from life(rules, world, who, fail)


def life(rules: Rules, world: Keys, who: int, fail: bool) -> Iterator[Step]:
    """A job runs, ends, is retried by hand, is forgotten."""
    state, name = world.states[who], f"job {who}"

    def moved(to: str, **changes: Any) -> Keys:
        return world._replace(states=put(world.states, who, to), **changes)

    if state == "queued":
        yield Step(f"{name} is claimed", moved("running"))
    if state == "running":
        yield Step(f"{name} is processed", moved("done"))
        yield Step(f"{name} fails", moved("failed"))
        if fail:
            yield Step(f"the worker of {name} dies", moved("queued", faults=world.faults + 1), fault=True)
    if state in ("done", "failed"):
        mine = world.entry == who or not rules.lets_go_of_its_own
        yield Step(f"{name} is forgotten", moved("gone", entry=NOBODY if mine else world.entry))
    if state == "failed" and world.retries < 2:
        free = not held(rules, world)
        if free or not rules.retry_asks_for_the_key:
            yield Step(f"{name} is retried by hand", moved("queued", entry=who, retries=world.retries + 1))


class UniqueCase(NamedTuple):
    """See `exhaustive.Case`."""

    name: str
    rules: Rules = Rules()
    breaks: str = ""
    faults: int = 3

    def first(self) -> Keys:
        return Keys()

    def steps(self, world: Keys) -> Iterator[Step]:
        return keys_steps(self.rules, world, faults=self.faults)

    def canonical(self, world: Keys) -> Keys:
        return world

    def breach(self, before: Keys, step: Step) -> str:
        world: Keys = step.world
        if sum(state in LIVE for state in world.states) > 1:
            return TWO
        for was, now in zip(before.states, world.states, strict=True):
            if was in ("done", "failed", "gone") and now == "queued" and world.retries == before.retries:
                return AGAIN
        unheld = any(state in LIVE and world.entry != who for who, state in enumerate(world.states))
        return world.broken or (UNHELD if unheld else "")

    def is_over(self, world: Keys) -> bool:
        told = all(it in ("stored", "turned away") for it in world.producers)
        return told and not any(state in LIVE for state in world.states)


UNIQUE_CASES = (
    UniqueCase("unique: as it is"),
    UniqueCase("unique: look at the key, then store", Rules(looks_and_stores_at_once=False), TWO),
    UniqueCase("unique: an entry counts though its job is over", Rules(asks_the_holder=False), TURNED_AWAY),
    UniqueCase("unique: a job that is forgotten takes any entry along", Rules(lets_go_of_its_own=False), UNHELD),
    UniqueCase("unique: a retry by hand does not ask for the key", Rules(retry_asks_for_the_key=False), TWO),
    UniqueCase("unique: a jid that is known is enqueued anew", Rules(knows_its_jid=False), AGAIN),
)
