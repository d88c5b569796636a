"""Which worlds are one: they differ in names only, so that one of them is tried for all.

Claims are numbered without gaps, and the two workers stand in a fixed order. Called by the search.
"""

from __future__ import annotations

from typing import Any

from tests.model.design import NOBODY, Store, World


def canonical(world: World) -> World:
    """The world that stands for all that differ from it in names only."""
    one, two = world.workers
    stores = (world.store,) if world.replica is None else (world.store, world.replica)
    named = {0, one.token, one.claim, one.stranger, one.heard, two.token, two.claim, two.stranger, two.heard}
    for store in stores:
        named |= {store.token, store.newest, *store.tokens}
    for message in world.late:
        named |= {message.token, message.claim, message.after}
    number = {old: new for new, old in enumerate(sorted(named))}
    if max(named) >= len(number) or world.claims >= len(number) or any(store.settled - named for store in stores):
        world = renumbered(world, number)
    mine, others = side(world, 0), side(world, 1)
    return swapped(world) if others < mine else world


def side(world: World, at: int) -> tuple[Any, ...]:
    """All that is one worker's: what its place among the two is decided by."""
    store = world.store
    late = [message for message in world.late if message.worker == at]
    return world.workers[at], store.owner == at, store.held[at], store.leases[at], store.tokens[at], late


def renumbered(world: World, number: dict[int, int]) -> World:
    """The world with other numbers for the claims; what nobody remembers of them is left out."""

    def renamed(store: Store) -> Store:
        return store._replace(
            token=number[store.token],
            newest=number[store.newest],
            tokens=(number[store.tokens[0]], number[store.tokens[1]]),
            settled=frozenset(number[it] for it in store.settled if it in number),
        )

    return world._replace(
        store=renamed(world.store),
        replica=world.replica and renamed(world.replica),
        workers=tuple(
            me._replace(
                token=number[me.token], claim=number[me.claim], stranger=number[me.stranger], heard=number[me.heard]
            )
            for me in world.workers
        ),
        late=tuple(
            it._replace(token=number[it.token], claim=number[it.claim], after=number[it.after]) for it in world.late
        ),
        claims=len(number) - 1,
    )


def swapped(world: World) -> World:
    """The same world with the two workers exchanged."""

    def turned(store: Store) -> Store:
        return store._replace(
            owner=other(store.owner), held=store.held[::-1], leases=store.leases[::-1], tokens=store.tokens[::-1]
        )

    return world._replace(
        store=turned(world.store),
        replica=world.replica and turned(world.replica),
        workers=world.workers[::-1],
        late=tuple(it._replace(worker=other(it.worker)) for it in world.late),
        recovering=other(world.recovering),
    )


def other(worker: int) -> int:
    """The other of the two workers; nobody's other is nobody."""
    return worker if worker == NOBODY else 1 - worker
