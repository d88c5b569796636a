"""The verb about limits: who has the slots that a job waits for. Slots are taken and given back by the moves of jobs,
so no verb here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from procession.database.operation import Operation

HANDED_ON = 1_000
"""Most slots of one limit that one call hands on, unless more jobs ask in it; the rest go with the next call that gives
one back or asks for one, or with the audit."""
LOOKED_AT = 10
"""Of how many jobs that have a slot is asked whether one makes way for a more urgent one."""
HOLDERS_SHOWN = 10


class Occupancy(Struct, frozen=True, kw_only=True):
    """The limit of one job as it is now."""

    most: int
    """How many slots there are; where a deploy has lowered it, more may be taken for a while."""
    taken: int
    holders: tuple[UUID, ...] = ()
    """Jobs that have them, at most ten, in the order of their ids."""
    ahead: int | None = None
    """How many blocked jobs get one before this job; None when this one does not wait."""
    waiting: int = 0
    """How many wait in all."""


class Limits(Protocol):
    """Jobs that come under limits: what all verbs keep to.

    - A job under a limit that is to become `queued` takes a slot; where none is free it becomes `blocked`.
    - A more urgent job takes the slot of one that is queued, if one of the first ten is; that one is `blocked` then,
      and the first of its priority to get a slot.
    - It keeps the slot while it is queued or running: released, crashed or taken back, too. The move that ends this
      gives it back, whichever it is, and no other.
    - What a verb gives back it hands on before it answers: to those who wait, by priority, then who came first; a job
      freed so is ready from then on. At most 1,000 of one limit a call, or as many as ask in it; who asks while others
      wait never gets a slot before them.
    - How many slots there are is the newest word: that of the last job enqueued, one that is due later only while the
      limit is in use. More are handed on at once; where there are fewer, nobody is stopped.
    - A blocked job that is put off or replaced leaves its turn, or goes over to the limit of its new arguments.
    """

    def occupancy(self, jids: Sequence[UUID]) -> Operation[list[Occupancy | None]]:
        """The limits of jobs, in the order asked; None for a job without one, or one that is not there."""
        ...
