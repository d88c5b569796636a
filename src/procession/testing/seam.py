"""The kit's place between an app and its store: every question passes here, and what was answered is noted.

The store is a real one and is asked in earnest. What the kit adds: it notes what was enqueued, claimed and settled; a
worker that a drill has killed is heard no more; and a worker that is to run one certain job is handed only that one.
Nothing here decides what a test sees; that is `kit.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from procession.database import AsyncConnection, Claims, Connection, Database, Durability, Operation
from procession.errors import ConfigError, Unavailable
from procession.job import Claimed, NewJob, Outcome, Stored
from procession.moves import Move
from procession.schedule import Firing

EVERYTHING = 10_000
"""How far into a queue a drill looks for its job."""
MOMENT = 1.0
"""Seconds within which a test that waits in one task must have begun to run jobs in another."""
IN_VAIN = "nothing performs jobs while this test waits for one; call run() of the test kit first, or use inline()"


class Watcher(Protocol):
    """Who is told what passes."""

    def enqueued(self, jobs: Sequence[NewJob], stored: Sequence[Stored]) -> None:
        """Jobs were asked to be stored."""
        ...

    def fired(self, firings: Sequence[Firing], answers: Sequence[str]) -> None:
        """Schedules were due."""
        ...

    def claimed(self, worker: str, claims: Claims) -> None:
        """A worker was handed jobs."""
        ...

    def settled(self, worker: str, outcomes: Sequence[Outcome], kept: Sequence[bool]) -> None:
        """A worker reported outcomes; each was kept or refused."""
        ...

    def is_anothers(self, job: Claimed) -> bool:
        """True when a job is to be performed by another app under test in the same store."""
        ...

    def nobody_works(self) -> bool:
        """True when whoever waits for a job now would wait for ever."""
        ...

    def perform_inline(self) -> None:
        """After an enqueue: perform what is ready, if the test wants that."""
        ...

    async def perform_inline_async(self) -> None:
        """See `perform_inline`."""
        ...


class Asked(Operation[Any]):
    """A question of the real store, and what it was about."""

    __slots__ = ("given", "real", "verb", "worker")

    def __init__(self, real: Operation[Any], verb: str, given: Any = None, worker: str = "") -> None:
        self.real = real
        self.verb = verb
        self.given = given
        self.worker = worker


class Seam:
    """A `Database` before the real one. `durable` says that the real one can keep what an enqueue asks for.

    What a verb is told beside what is watched here is handed on as it is.
    """

    def __init__(self, real: Database, watcher: Watcher, *, durable: bool) -> None:
        self.real = real
        self.watcher = watcher
        self.durable = durable
        self.dead: set[str] = set()
        """Workers that are heard no more."""
        self.only: dict[str, UUID] = {}
        """Worker → the one job that it may have; taken out when it has it."""
        self.handed: set[str] = set()
        """Workers that are handed nothing more."""

    def __getattr__(self, name: str) -> Any:
        """The other verbs, and what is known of the store, as they are."""
        return getattr(self.real, name)

    def enqueue(self, jobs: Sequence[NewJob], **given: Any) -> Operation[list[Stored]]:
        """See `Queue.enqueue`."""
        return Asked(self.real.enqueue(jobs, **given), "enqueue", jobs)

    def fire(self, firings: Sequence[Firing], **given: Any) -> Operation[Any]:
        """See `Schedules.fire`."""
        return Asked(self.real.fire(firings, **given), "fire", firings)

    def settle(self, worker: str, outcomes: Sequence[Outcome], **given: Any) -> Operation[list[bool]]:
        """See `Queue.settle`."""
        return Asked(self.real.settle(worker, outcomes, **given), "settle", outcomes, worker)

    def heartbeat(self, worker: str, **given: Any) -> Operation[Any]:
        """See `Queue.heartbeat`."""
        return Asked(self.real.heartbeat(worker, **given), "heartbeat", worker=worker)

    def claim(
        self, queues: Sequence[str], worker: str, token: bytes, *, limit: int, **given: Any
    ) -> Operation[Claims]:
        """See `Queue.claim`. A drill's worker looks through its whole queue once, and is handed nothing more."""
        if worker in self.only:
            limit = EVERYTHING
        elif worker in self.handed:
            limit = 0
        real = self.real.claim(queues, worker, token, limit=limit, **given)
        return Asked(real, "claim", token, worker)

    def connect(self, budget: float = 2.0) -> Connection:
        """See `Database.connect`."""
        return SeamConnection(self, self.real.connect(budget))

    def connect_async(self, budget: float = 2.0) -> AsyncConnection:
        """See `Database.connect_async`."""
        return AsyncSeamConnection(self, self.real.connect_async(budget))

    # What both kinds of connection do

    def kept(self, durability: Durability) -> Durability:
        """What the real store is asked to keep to."""
        return durability if self.durable else "memory"

    def answered(self, operations: Sequence[Any], answer: Any) -> Iterator[tuple[Asked, Any]]:
        """The questions that are watched, each with its answer."""
        answers = answer if len(operations) > 1 else [answer]
        return ((op, it) for op, it in zip(operations, answers, strict=True) if isinstance(op, Asked))

    def noticed(self, asked: Asked, answer: Any) -> None:
        """Tell the watcher."""
        if asked.verb == "enqueue":
            self.watcher.enqueued(asked.given, answer)
        elif asked.verb == "fire":
            self.watcher.fired(asked.given, answer)
        elif asked.verb == "claim":
            self.watcher.claimed(asked.worker, answer)
        elif asked.verb == "settle":
            self.watcher.settled(asked.worker, asked.given, answer)

    def others(self, asked: Asked, claims: Claims) -> tuple[Claims, Operation[Any] | None]:
        """What a worker may have of a claim, and the question that puts the rest back where it was. It is handed
        nothing more then: of a drill, because it has its one job; else, because another app's turn comes first."""
        wanted = self.only.pop(asked.worker, None)
        rest = [it for it in claims.jobs if (self.watcher.is_anothers(it) if wanted is None else it.jid != wanted)]
        if wanted is None and not rest:
            return claims, None
        mine = [it for it in claims.jobs if it not in rest]
        self.handed.add(asked.worker)
        back = [Outcome(jid=it.jid, token=it.token, move=Move.RELEASE) for it in reversed(rest)]
        shown = msgspec.structs.replace(claims, jobs=mine)
        return shown, self.real.settle(asked.worker, back) if back else None

    def in_vain(self, bells: Sequence[str]) -> bool:
        """A test waits for a job here, and nothing performs any."""
        return bool(bells) and all(bell.startswith("@") for bell in bells) and self.watcher.nobody_works()


def _real(operations: Sequence[Any]) -> list[Any]:
    return [it.real if isinstance(it, Asked) else it for it in operations]


class SeamConnection:
    """See `Connection`."""

    def __init__(self, seam: Seam, real: Connection) -> None:
        self._seam = seam
        self._real: Any = real

    def ask(self, *operations: Any, durability: Durability = "memory") -> Any:
        """See `Connection.ask`."""
        seam = self._seam
        if any(isinstance(it, Asked) and it.worker in seam.dead for it in operations):
            raise Unavailable("this worker was killed", asked=False)
        answer = self._real.ask(*_real(operations), durability=seam.kept(durability))
        stored = False
        for asked, its in seam.answered(operations, answer):
            seam.noticed(asked, its)
            stored = stored or asked.verb == "enqueue"
        if stored:
            seam.watcher.perform_inline()
        return answer

    def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `Connection.wait`."""
        if self._seam.in_vain(bells):
            raise ConfigError(IN_VAIN)
        bell: str | None = self._real.wait(bells, timeout)
        return bell

    def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Any) -> tuple[str | None, Any]:
        """See `Connection.wait_then_ask`."""
        return self.wait(bells, timeout), self.ask(operation)

    def close(self) -> None:
        """See `Connection.close`."""
        self._real.close()


class AsyncSeamConnection:
    """See `AsyncConnection`."""

    def __init__(self, seam: Seam, real: AsyncConnection) -> None:
        self._seam = seam
        self._real: Any = real

    async def ask(self, *operations: Any, durability: Durability = "memory") -> Any:
        """See `AsyncConnection.ask`."""
        seam = self._seam
        if any(isinstance(it, Asked) and it.worker in seam.dead for it in operations):
            raise Unavailable("this worker was killed", asked=False)
        answer = await self._real.ask(*_real(operations), durability=seam.kept(durability))
        shown, stored = [*answer] if len(operations) > 1 else [answer], False
        for at, operation in enumerate(operations):
            if not isinstance(operation, Asked):
                continue
            if operation.verb == "claim":
                shown[at], back = seam.others(operation, shown[at])
                if back is not None:
                    await self._real.ask(back)
            seam.noticed(operation, shown[at])
            stored = stored or operation.verb == "enqueue"
        if stored:
            await seam.watcher.perform_inline_async()
        return tuple(shown) if len(operations) > 1 else shown[0]

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `AsyncConnection.wait`."""
        idle = self._seam.in_vain(bells)
        bell: str | None = await self._real.wait(bells, min(timeout, MOMENT) if idle else timeout)
        if idle and bell is None and self._seam.in_vain(bells):
            raise ConfigError(IN_VAIN)
        return bell

    async def wait_then_ask(self, bells: Sequence[str], timeout: float, operation: Any) -> tuple[str | None, Any]:
        """See `AsyncConnection.wait_then_ask`. In two steps: what is asked may be asked once more, to put jobs back."""
        return await self.wait(bells, timeout), await self.ask(operation)

    async def close(self) -> None:
        """See `AsyncConnection.close`."""
        await self._real.close()
