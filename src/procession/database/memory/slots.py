"""Limits in the memory store: who has a slot, who waits for one, and to whom one goes that was given back.

A slot is taken when its job becomes queued and given back when it leaves queued and running, both by that job's own
move. What was given back within a verb is handed on at the verb's end, in the order in which it was. Called by
`store.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from procession.database.health import Finding
from procession.database.limits import HANDED_ON, LOOKED_AT
from procession.job import State

if TYPE_CHECKING:
    from procession.database.memory.index import Record

UNDER_WAY = (State.QUEUED, State.RUNNING)


class Slots:
    """The slots of all limits, each limit by its digest."""

    def __init__(self) -> None:
        self.most: dict[bytes, int] = {}
        """The newest word on each limit that is in use."""
        self.held: defaultdict[bytes, set[UUID]] = defaultdict(set)
        self.waiting: defaultdict[bytes, set[UUID]] = defaultdict(set)
        self.opened: dict[bytes, int] = {}
        """The limits that may have something to hand on, in order, and how many jobs asked since."""
        self._turns = 0

    def said(self, record: Record, *, ready: bool) -> None:
        """A job is asked for: the newest word on its limit counts, while the limit is in use."""
        if (slot := record.slot) is None:
            return
        before = self.most.get(slot.limit)
        if ready or before is not None:
            self.most[slot.limit] = slot.most
        if before is not None and slot.most > before:
            self.opened.setdefault(slot.limit, 0)

    def takes(self, record: Record) -> bool:
        """Give a job a slot of its limit, if it has one. False when none is free, or others wait for it; then it is to
        wait, too."""
        if (slot := record.slot) is None:
            return True
        room = len(self.held[slot.limit]) < self.most.setdefault(slot.limit, slot.most)
        if room and self.waiting.get(slot.limit):
            self.opened.setdefault(slot.limit, 0)
        if slot.limit in self.opened:
            self.opened[slot.limit] += 1
            return False
        if not room:
            return False
        self.held[slot.limit].add(record.jid)
        return True

    def makes_way(self, record: Record, jobs: dict[UUID, Record]) -> Record | None:
        """The job that has a slot, is less urgent than this one and not begun: the least urgent of the first ten."""
        if (slot := record.slot) is None or slot.limit in self.opened:
            return None
        first = sorted(self.held[slot.limit], key=lambda jid: jid.bytes)[:LOOKED_AT]
        queued = [it for jid in reversed(first) if (it := jobs[jid]).state is State.QUEUED]
        least = min(queued, key=lambda it: it.priority, default=record)
        return least if least.priority < record.priority else None

    def passed(self, limit: bytes, giver: Record, taker: Record) -> None:
        """One job has made way for another, and is the first of its priority to get a slot again."""
        giver.turn = 0
        del self.opened[limit]
        self.held[limit].add(taker.jid)

    def moved(self, record: Record, before: State, after: State | None) -> None:
        """A job went from one state to another: it gives back its slot, or gets or loses its turn to wait."""
        if (slot := record.slot) is None:
            return
        if before in UNDER_WAY and after not in UNDER_WAY and record.jid in self.held.get(slot.limit, ()):
            self.held[slot.limit].remove(record.jid)
            self.opened.setdefault(slot.limit, 0)
        if before is State.BLOCKED:
            self.waiting[slot.limit].discard(record.jid)
        if after is State.BLOCKED:
            self.waits(record)

    def waits(self, record: Record) -> None:
        """A job begins to wait, behind those of its limit and priority that wait already."""
        if record.slot is not None:
            self.waiting[record.slot.limit].add(record.jid)
        self._turns += 1
        record.turn = self._turns

    def handed_on(self, blocked: Iterable[Record]) -> Iterator[Record]:
        """The jobs that get what was given back; each has its slot by then. Forgets limits that nobody uses."""
        opened, self.opened = self.opened, {}
        waiting = sorted(blocked, key=turn) if opened else []
        for limit, asked in opened.items():
            held = self.held[limit]
            mine = [it for it in waiting if it.slot is not None and it.slot.limit == limit]
            free = self.most.get(limit, mine[0].slot.most if mine and mine[0].slot else 0) - len(held)
            for record in mine[: max(min(free, max(HANDED_ON, asked)), 0)]:
                held.add(record.jid)
                yield record
            if not held:
                del self.held[limit]
                self.most.pop(limit, None)
                self.waiting.pop(limit, None)

    def contradictions(self, jobs: dict[UUID, Record]) -> Iterator[Finding]:
        """A slot that no job under way has, a job under way without one, a free slot while others wait."""
        for limit, held in self.held.items():
            for jid in held:
                it = jobs.get(jid)
                if it is None or it.state not in UNDER_WAY or it.slot is None or it.slot.limit != limit:
                    yield Finding(kind="slot without job", jid=jid, where="slots")
        for record in jobs.values():
            if (slot := record.slot) is None:
                continue
            held = self.held.get(slot.limit, set())
            if record.state in UNDER_WAY and record.jid not in held:
                yield Finding(kind="no slot", jid=record.jid, where="slots")
            if record.state is State.BLOCKED and len(held) < self.most.get(slot.limit, slot.most):
                yield Finding(kind="slot not handed on", jid=record.jid, where="blocked")
        for limit in self.most.keys() - {it.slot.limit for it in jobs.values() if it.slot and not it.state.final}:
            yield Finding(kind="left over", where=f"limits {limit.hex()}")


def turn(record: Record) -> tuple[bytes, int, int, bytes]:
    """Where a blocked job stands: by limit, then priority, then who came first."""
    return record.slot.limit if record.slot else b"", -record.priority, record.turn, record.jid.bytes
