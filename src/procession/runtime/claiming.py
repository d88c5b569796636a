"""The claims of one queue worker: what the next one asks, and which answer counts.

A claim goes out in a turn, or ahead of the jobs: behind the wait at the bells (`listening.py`), so that the store makes
it as a bell rings, and the job comes with the ring. Both have the same token until one of them has an answer. Of two
with one token the store makes the first, and tells the other what that took; so it does not matter which of them it
sees first, nor when. A claim in a turn is repeated until it has an answer, so from then on the one ahead counts no
more. Made and asked by `queue_worker.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from procession.database import Claims, Database, Held, Operation
from procession.runtime.turns import Turns

AHEAD = 10
"""Most jobs of a claim ahead: as many as may wait for the end of a lease when their worker is cut off, or stands
still, as the bell rings. The rest of a crowd is claimed in the turn that follows."""


class Claim(NamedTuple):
    """One claim as it was asked."""

    operation: Operation[Claims]
    limit: int
    order: list[str]


def _new_token() -> bytes:
    """Eight bytes by chance: one claim of one worker, told apart from all others of a shard."""
    return os.urandom(8)


class Claiming:
    """See above. Times in milliseconds."""

    def __init__(self, database: Database, worker: str, turns: Turns, *, lease: int, ageing: int) -> None:
        self._database = database
        self._worker = worker
        self._turns = turns
        self._lease = lease
        self._ageing = ageing
        self._last_token, self._token = _new_token(), _new_token()
        self._next_token = b""
        self._answered: tuple[Claim, Claims] | None = None
        self._ahead: Claim | None = None
        self.compared_at = 0
        """When the store last said what this worker holds, by its clock."""

    def in_turn(self, limit: int) -> Claim:
        """The claim of a turn, to be asked until it is answered."""
        self._ahead = None
        return self._claim(limit, self._lease)

    def ahead(self, limit: int) -> Claim:
        """The claim behind a wait. It lengthens no lease: the worker may be gone when it is made."""
        self._ahead = self._claim(min(limit, AHEAD), 0)
        return self._ahead

    def counts(self, claim: Claim) -> bool:
        """An answer to this claim ahead is the first to its token, and the only one that will be heeded."""
        return claim is self._ahead

    def answered(self, claim: Claim, claims: Claims) -> None:
        """The claim has its answer: the next one is another. What it brought counts when that is asked, for until then
        jobs wait to begin."""
        self._renew()
        self._answered = claim, claims

    def given_up(self, claim: Claim) -> None:
        """Nobody will hear the answer to this claim ahead. It may have been made: the next one learns what it took."""
        if self._ahead is claim:
            self._ahead = None

    def unbrought(self, strangers: Sequence[Held], *, claiming: bool) -> list[Held]:
        """Those that no claim will bring. While the worker claims, what it holds under the present token comes with the
        answer that is on its way, or else with the next; else that token has served its turn."""
        lost = [held for held in strangers if held.token != self._token]
        if claiming or len(lost) == len(strangers):
            return lost
        self._renew()
        return [*strangers]

    def _renew(self) -> None:
        self._last_token, self._token, self._next_token = self._token, self._next_token or _new_token(), b""
        self._ahead = None

    def _claim(self, limit: int, lease: int) -> Claim:
        self._next_token = self._next_token or _new_token()
        if self._answered is not None:
            claim, claims = self._answered
            self._turns.claimed(claim.order, [it.queue for it in claims.jobs], claim.limit)
            self._answered = None
        order = self._turns.order()
        operation = self._database.claim(
            order, self._worker, self._token, limit=limit, lease=lease, after=self._last_token, ageing=self._ageing
        )
        return Claim(operation, limit, order)
