"""The jobs of a memory database, and where each stands: by state, in the lane of its queue and priority, by due time.

`enter` and `leave` keep all of it, so that what a worker asks takes as long with many jobs as with few, where these
have no deadlines (tests/unit/test_memory.py). `store.py` calls them at each change of a state; the verbs read here.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from uuid import UUID

from msgspec import Struct

from procession.database.memory.slots import turn
from procession.job import FINAL, State
from procession.limits import Slot
from procession.notes import Progress
from procession.unique import Unique

Lane = OrderedDict[UUID, "Record"]
Spot = tuple[str | int, ...]
QUEUE, NUMBER, COUNT, ID = "[A-Za-z0-9_.-]{1,64}", "-?[0-9]{1,3}", "-?[0-9]{1,15}", "[0-9a-f]{32}"
SPOTS = {
    State.QUEUED: (QUEUE, NUMBER, COUNT), State.DELAYED: (COUNT, ID), State.BLOCKED: (ID, NUMBER, COUNT, ID),
    State.RUNNING: (ID,), **dict.fromkeys(FINAL, ("[0-9]{15}",)),
}  # fmt: skip
"""The form of the parts of a `Record.spot` in each state."""
NEWEST_FIRST = 10**15 - 1


class Record(Struct):
    """One job here: what changes, beside what was asked."""

    jid: UUID
    spec: bytes
    queue: str
    priority: int
    enqueued_at: int
    expires_at: int
    state: State = State.QUEUED
    attempt: int = 0
    crashes: int = 0
    due_at: int = 0
    start_at: int = 0
    finish_at: int = 0
    worker: str = ""
    token: bytes = b""
    reason: str = ""
    cancel: bool = False
    failures: list[bytes] = []
    result: bytes | None = None
    unique: Unique | None = None
    window_ends: int = 0
    latest: int = 0
    """How far its due time may be pushed, as an instant; 0: without a limit."""
    deadline: int = 0
    slot: Slot | None = None
    turn: int = 0
    """When it began to wait for its slot, as a number that only rises."""
    progress: Progress | None = None
    lines: list[bytes] = []
    lines_ever: int = 0
    noted: tuple[bytes, int] = (b"", 0)
    """The claim token and the number of the last note."""
    waited: int | None = None
    place: int = 0
    """Where in its claim it stands."""
    filed: int = 0
    """Where in its lane, or among the finished, it stands: more than those before it."""

    @property
    def spot(self) -> Spot:
        """Where it stands among the jobs of its state: more than those before it on the pages of that state."""
        match self.state:
            case State.QUEUED:
                return self.queue, -self.priority, self.filed
            case State.DELAYED:
                return self.due_at, self.jid.hex
            case State.BLOCKED:
                limit, urgency, came, _ = turn(self)
                return limit.hex(), urgency, came, self.jid.hex
            case State.RUNNING:
                return (self.jid.hex,)
        return (NEWEST_FIRST - self.filed,)

    @property
    def ready_since(self) -> int:
        """Since when a queued job is ready; one that was given back, since it was last taken at least."""
        return self.due_at or self.start_at or self.enqueued_at

    def waits(self, now: int) -> int | None:
        """For how long a queued job has been ready; None where that is not known any more."""
        fresh = self.attempt == 0 and self.start_at == 0
        ready = self.due_at or (self.enqueued_at if fresh else 0)
        return max(now - ready, 0) if ready else None


def cursor_of(spot: Spot) -> str:
    """A spot as the cursor of a page."""
    return "/".join(map(str, spot))


def spot_of(cursor: str, state: State) -> Spot:
    """The reverse, of a cursor that has the form of one."""
    parts = zip(SPOTS[state], cursor.split("/"), strict=True)
    return tuple(part if kind in (QUEUE, ID) else int(part) for kind, part in parts)


class Index:
    """Every job by its id, and the ways to find many."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Record] = {}
        self.by_state: dict[State, dict[UUID, Record]] = {state: {} for state in State}
        """The jobs of each state, as they came into it: two may finish in the same millisecond."""
        self.lanes: defaultdict[str, dict[int, Lane]] = defaultdict(dict)
        """The lanes of each queue that are not empty, by priority."""
        self._due: list[tuple[int, bytes, UUID]] = []
        """A heap of the delayed by due time, and of some that are delayed no more, or until another time."""
        self._filed = 0

    def enter(self, record: Record, *, front: bool = False) -> None:
        """A job comes into its state; where that is queued, at one end of its lane."""
        jid = record.jid
        self.jobs[jid] = self.by_state[record.state][jid] = record
        self._filed += 1
        record.filed = self._filed
        if record.state is State.QUEUED:
            lane = self.lanes[record.queue].setdefault(record.priority, OrderedDict())
            lane[jid] = record
            record.filed *= -1 if front else 1
            lane.move_to_end(jid, last=not front)
        elif record.state is State.DELAYED:
            heapq.heappush(self._due, (record.due_at, jid.bytes, jid))
            if len(self._due) > 2 * len(self.by_state[State.DELAYED]) + 100:
                self._due = [(it.due_at, it.jid.bytes, it.jid) for it in self.in_order(State.DELAYED)]

    def leave(self, record: Record) -> None:
        """A job goes out of its state."""
        del self.by_state[record.state][record.jid]
        if record.state is State.QUEUED:
            lanes = self.lanes[record.queue]
            del lanes[record.priority][record.jid]
            if not lanes[record.priority]:
                del lanes[record.priority]

    def depth(self, queue: str) -> int:
        """How many jobs are queued here."""
        return sum(map(len, self.lanes[queue].values()))

    def queued_in(self, queue: str) -> list[Record]:
        """The queued jobs of one queue in the order in which they are claimed, if nothing ages."""
        lanes = self.lanes[queue]
        return [record for priority in sorted(lanes, reverse=True) for record in lanes[priority].values()]

    def first_in(self, queue: str, ageing: int, now: int) -> Record | None:
        """The job that is claimed next. With `ageing` the head of a lane counts one priority higher for each such span
        that it has been ready."""
        heads = [next(iter(lane.values())) for lane in self.lanes[queue].values()]

        def urgency(head: Record) -> tuple[int, int, int]:
            since = head.ready_since
            return head.priority + (max(now - since, 0) // ageing if ageing else 0), -since, head.priority

        return max(heads, key=urgency, default=None)

    def next_due(self) -> int:
        """When the next delayed job is due, or 0."""
        delayed = self.by_state[State.DELAYED]
        while self._due:
            at, _, jid = self._due[0]
            if jid in delayed and delayed[jid].due_at == at:
                return at
            heapq.heappop(self._due)
        return 0

    def each_due(self, now: int, limit: int) -> Iterator[Record]:
        """The delayed jobs that are due, the earliest first. Each is to be moved before the next is asked for."""
        for _ in range(limit):
            if not 0 < self.next_due() <= now:
                return
            yield self.jobs[self._due[0][2]]

    def in_order(self, state: State) -> list[Record]:
        """Finished jobs in the order in which they finished; delayed by due time; blocked by limit and turn; running
        and queued by id."""
        records = list(self.by_state[state].values())
        if state is State.DELAYED:
            records.sort(key=lambda record: (record.due_at, record.jid.bytes))
        elif state is State.BLOCKED:
            records.sort(key=turn)
        elif state not in FINAL:
            records.sort(key=lambda record: record.jid.bytes)
        return records

    def paged(self, state: State, queue: str | None) -> list[Record]:
        """The jobs of a state, of one queue or of all, as pages show them."""
        if state is State.QUEUED:
            names = sorted(self.lanes) if queue is None else [queue]
            return [record for name in names for record in self.queued_in(name)]
        records = [it for it in self.in_order(state) if queue in (None, it.queue)]
        return records[::-1] if state in FINAL else records

    def held_by(self, worker: str) -> list[Record]:
        """What a worker runs."""
        running = self.by_state[State.RUNNING].values()
        return sorted((it for it in running if it.worker == worker), key=lambda it: it.jid.bytes)

    def lacking(self) -> Iterator[Record]:
        """The jobs that one of these does not know where it should: none, unless a verb is wrong."""
        due = set(self._due)
        for jid, record in self.jobs.items():
            known = jid in self.by_state[record.state]
            if record.state is State.QUEUED:
                known = known and jid in self.lanes[record.queue].get(record.priority, ())
            elif record.state is State.DELAYED:
                known = known and (record.due_at, jid.bytes, jid) in due
            if not known:
                yield record

    def strangers(self) -> Iterator[Record]:
        """The jobs that one of these knows and should not."""
        lanes = [lane for lanes in self.lanes.values() for lane in lanes.values()]
        for state, records in (*self.by_state.items(), *((State.QUEUED, lane) for lane in lanes)):
            yield from (it for it in records.values() if self.jobs.get(it.jid) is not it or it.state is not state)
