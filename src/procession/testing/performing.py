"""Running jobs for the kit: real queue workers, one after another, until nothing is ready; what came of each attempt.

A layer of middleware outside of all others sees runs begin and end, so that a test gets the job's own exception, and
a drill can strike. Everything else is what a worker process does. Called by `kit.py` and `drills.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from procession import errors
from procession.client import Procession
from procession.codec import decode_failure, decode_spec
from procession.context import CurrentJob
from procession.database import Query
from procession.errors import BadArguments, Control, JobError, JobFailed, ProcessionError, Sealed
from procession.job import Claimed, Outcome, State
from procession.middleware import Middleware
from procession.moves import Move
from procession.registry import Registered
from procession.runtime.outage import Patient
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.scheduling import LOOK, Scheduler
from procession.testing.effects import Effects

WORDS = {
    Move.PROCESS: "processed", Move.RETRY: "retried", Move.FAIL: "failed", Move.DISCARD: "cancelled",
    Move.SNOOZE: "snoozed", Move.RELEASE: "given back", Move.POSTPONE: "postponed", Move.CRASH: "crashed",
}  # fmt: skip


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt that a test has run."""

    jid: UUID
    name: str
    attempt: int
    queue: str
    came_to: str
    """`processed`, `retried`, `failed`, `cancelled`, `snoozed`, `postponed` (no code has its name), `crashed` (a drill
    killed its worker), `refused` (the lease was lost, so its outcome does not count) …"""
    error: BaseException | None = None
    """What it raised, with its traceback; None for what is no error: a result, Snooze, RetryLater, Discard."""
    result: Any = None
    """What it returned, after its way through JSON."""
    reason: str = ""

    def __repr__(self) -> str:
        error = f": {type(self.error).__name__}: {self.error}" if self.error is not None else ""
        return f"<{self.name} attempt {self.attempt} {self.came_to}{error}>"


class Strike(Protocol):
    """What a drill does to a run."""

    def begins(self, job: CurrentJob) -> None:
        """The run is about to call its function."""
        ...

    def returned(self, job: CurrentJob) -> None:
        """The function has returned."""
        ...

    def over(self, job: CurrentJob) -> None:
        """All code of the run has ended."""
        ...


class Around(Middleware):
    """The kit's layer, outside of all others."""

    def __init__(self, effects: Effects) -> None:
        self.errors: dict[tuple[UUID, int], BaseException] = {}
        self.effects = effects
        self.strikes: dict[UUID, list[Strike]] = {}
        """Job → what happens to its next runs, in order."""
        self.began: list[tuple[UUID, int]] = []
        """Job and fence of each run that has begun."""

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """See `Middleware.perform`."""
        waiting = self.strikes.get(job.jid)
        strike = waiting.pop(0) if waiting else None
        self.began.append((job.jid, job.fence))
        self.effects.run.append(job.fence)
        try:
            if strike is not None:
                strike.begins(job)
            yield
            if strike is not None:
                strike.returned(job)
        except BaseException as error:
            self.errors[job.jid, job.attempt] = error
            raise
        finally:
            with suppress(ValueError):
                self.effects.run.remove(job.fence)
            if strike is not None:
                strike.over(job)


class Declaring(Scheduler):
    """A worker's part in schedules under the kit: it stores what stands in code. What is due is the kit's to fire."""

    async def look(self, patient: Patient) -> float:
        """See `Scheduler.look`; fires nothing."""
        await self._declare(patient)
        return LOOK


class Crew:
    """The queue workers of one app under test. `attempts`, which crews share, grows as they work."""

    def __init__(self, app: Procession, effects: Effects, attempts: list[Attempt], *, concurrency: int) -> None:
        self.app = app
        self.around = Around(effects)
        self.attempts = attempts
        self._concurrency = concurrency
        self._claimed: dict[tuple[UUID, bytes], Claimed] = {}
        self._replaced: list[Registered] = []
        self.neighbours: list[Procession] = []
        """Other apps under test in the same store: what they serve and this one does not name is left to them."""

    def close(self) -> None:
        """Leave the app as it was."""
        for registered in self._replaced:
            self.app.registry.add(registered)

    def claimed(self, jobs: Sequence[Claimed]) -> None:
        """Jobs are about to begin."""
        self._claimed.update({(it.jid, it.token): it for it in jobs})

    def is_anothers(self, job: Claimed) -> bool:
        """Only another app under test knows its name, and serves its queue, too."""
        name, registry = _name(job), self.app.registry
        return registry.get(name) is None and any(
            it.registry.get(name) is not None
            and (job.queue in it.registry.queues() or job.queue not in registry.queues())
            for it in self.neighbours
        )

    def settled(self, outcomes: Sequence[Outcome], kept: Sequence[bool]) -> None:
        """Attempts have ended."""
        for outcome, its in zip(outcomes, kept, strict=True):
            claimed = self._claimed.pop((outcome.jid, outcome.token), None)
            if claimed is not None:
                self.attempts.append(self._attempt(claimed, outcome, its))

    def now_running(self) -> list[str]:
        """What was begun and has not ended, for a message."""
        return [f"{_name(it)} ({it.jid})" for it in self._claimed.values()]

    def gone(self, came_to: str = "crashed", reason: str = "killed") -> None:
        """The worker is gone, and nothing of what it still ran was settled."""
        for it in self._claimed.values():
            self.attempts.append(Attempt(
                jid=it.jid, name=_name(it), attempt=it.attempt, queue=it.queue, came_to=came_to, reason=reason
            ))  # fmt: skip
        self._claimed.clear()

    def worker(self, queues: Sequence[str], worker_id: str | None = None) -> QueueWorker:
        """A worker that ends when nothing is ready. What asks for a process of its own runs in this one."""
        for registered in self.app.registry:
            if registered.executor == "process":
                self._replaced.append(registered)
                stand_in = {"executor": registered.inside, "hard_timeout": None, "max_memory": 0}
                self.app.registry.add(msgspec.structs.replace(registered, **stand_in))
        return QueueWorker(
            self.app, queues=queues, concurrency=self._concurrency, threads=self._concurrency, target="", burst=True,
            worker_id=worker_id, schedules=Declaring.of(self.app),
        )  # fmt: skip

    async def work(self) -> None:
        """Perform what is ready, once around: a worker's whole life."""
        queues = await self.ready()
        if queues:
            await self.worker(queues).run()

    async def ready(self) -> list[str]:
        """The queues of this app that have work, or will have when what is due has been promoted."""
        database, ask = self.app.database, self.app.ask_async
        queues, now = await ask(database.queues()), await ask(database.clock())
        due = (await ask(database.page(Query(state=State.DELAYED), limit=1))).jobs
        if any(it.queued and not it.paused for it in queues) or (due and due[0].due_at <= now):
            theirs = {name for app in self.neighbours for name in app.registry.queues()}
            return sorted({*self.app.registry.queues(), *({it.name for it in queues} - theirs)})
        return []

    async def next_due(self) -> int:
        """When the next delayed job is due, 0 when there is none."""
        due = (await self.app.ask_async(self.app.database.page(Query(state=State.DELAYED), limit=1))).jobs
        return due[0].due_at if due else 0

    async def fire(self) -> int:
        """Declare what stands in code, enqueue what schedules have due now, and return when one is due next, or 0."""
        hurried = asyncio.Event()
        hurried.set()
        patient = Patient(self.app.connection_async(), lambda: None, 0.1, hurried, lambda: None)
        await Scheduler.of(self.app).look(patient)
        return (await self.app.ask_async(self.app.database.due_schedules(1))).next_due

    def _attempt(self, claimed: Claimed, outcome: Outcome, kept: bool) -> Attempt:
        move = Move(outcome.move)
        raised = self.around.errors.pop((claimed.jid, claimed.attempt), None)
        error = self._error(claimed, outcome, raised) if move not in (Move.PROCESS, Move.SNOOZE, Move.RELEASE) else None
        return Attempt(
            jid=claimed.jid, name=_name(claimed), attempt=claimed.attempt, queue=claimed.queue, error=error,
            came_to=WORDS[move] if kept else "refused", result=self._result(claimed, outcome), reason=outcome.reason,
        )  # fmt: skip

    def _result(self, claimed: Claimed, outcome: Outcome) -> Any:
        registered, sealing = self.app.registry.get(_name(claimed)), self.app.registry.policies.sealing
        if registered is None or outcome.value is None:
            return None
        with suppress(BadArguments, Sealed):
            raw = outcome.value if sealing is None else sealing.open(outcome.value, claimed.jid, "result")
            return registered.signature.decode_result(raw)
        return None

    def _error(self, claimed: Claimed, outcome: Outcome, raised: BaseException | None) -> BaseException | None:
        """The job's own exception, or one like what the store was told where no code of the job had raised it."""
        if isinstance(raised, Control) and outcome.move != Move.FAIL:
            return None
        if outcome.failure is None:
            return JobError(outcome.reason, jid=claimed.jid) if outcome.move == Move.POSTPONE else None
        failure, sealing = decode_failure(outcome.failure), self.app.registry.policies.sealing
        if raised is not None and failure.type == type(raised).__qualname__:
            return raised
        with suppress(Sealed):
            failure = failure if sealing is None else sealing.open_failure(failure, claimed.jid)
        kind = getattr(errors, failure.type.rpartition(".")[2], None)
        if isinstance(kind, type) and issubclass(kind, ProcessionError):
            with suppress(TypeError):
                return kind(failure.message)
        return JobFailed(f"{failure.type}: {failure.message}", jid=claimed.jid)


def _name(claimed: Claimed) -> str:
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        return decode_spec(claimed.spec).name
    return "?"


def raise_errors(attempts: Sequence[Attempt]) -> None:
    """Raise the first error that a later attempt did not make good; the others are named in its notes."""
    last = {it.jid: it for it in attempts if it.came_to != "refused"}
    wrong = [it for it in last.values() if it.error is not None]
    if not wrong or wrong[0].error is None:
        return
    for other in wrong[1:6]:
        wrong[0].error.add_note(f"in the same run: {other!r}")
    raise wrong[0].error
