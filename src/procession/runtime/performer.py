"""What performs claimed jobs: begins each in its executor, stops it when it must not go on, reports its outcome.

The queue worker claims and settles; between the two a job is here. Every claimed job comes to exactly one outcome,
unless its lease was lost: then it comes to none. Nothing here speaks to the database.

1. `begin` resolves the name and puts the run into its executor, where it may wait for a place
2. the executor says `began` (its time counts from here) and `ended`, or `cannot`
3. the verdict's outcome is reported; `settled` forgets the run once the store has answered
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from uuid import UUID

from msgspec import Struct

from procession.clock import monotonic
from procession.errors import JobTimeout
from procession.job import Claimed, Outcome
from procession.registry import Registry
from procession.runtime.active import Active, Executor
from procession.runtime.announcing import Announcer
from procession.runtime.deadlines import Deadlines
from procession.runtime.executor import CANCEL_GRACE, Run, Verdict, judge, postponed, released, resolve
from procession.runtime.joblog import JobLog
from procession.runtime.loop_executor import LoopExecutor
from procession.runtime.notetaker import NoteTaker
from procession.runtime.process_executor import ProcessExecutor
from procession.runtime.slots import Places, claimable, shared
from procession.runtime.stacks import JOBS, told
from procession.runtime.stand_in import StandIn
from procession.runtime.thread_executor import ThreadExecutor

log = logging.getLogger("procession.worker")


class Capacity(Struct, frozen=True, kw_only=True):
    """What a queue worker performs with."""

    served: frozenset[str]
    """The executors that the jobs of the served queues need."""
    concurrency: int
    threads: int
    job_processes: int
    target: str | None
    """`module:app`, what a job process imports; None where nobody knows."""
    max_crashes: int


class Performer:
    """The runs of one queue worker. Made, called and called back on its loop.

    Args:
        registry: which names are known.
        worker: the queue worker's name.
        report: takes outcomes, to be settled.
        wake: called when there may be room for more.
        worn_out: called once, when places are lost for good.
        announcer: tells the app's handlers; None when it has none.
    """

    def __init__(
        self,
        registry: Registry,
        worker: str,
        capacity: Capacity,
        *,
        job_log: JobLog,
        report: Callable[[Iterable[Outcome]], None],
        wake: Callable[[], None],
        worn_out: Callable[[str], None],
        announcer: Announcer | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._registry = registry
        self._worker = worker
        self._capacity = capacity
        self._served = {*capacity.served}
        self._familiar = capacity.served
        """The executors whose jobs are performed as they come; none once an option of an enqueue brought another."""
        self._log = job_log
        self._report = report
        self._wake = wake
        self._worn_out = worn_out
        self._said_worn_out = False
        self._announcer = announcer
        self._active: dict[int, Active] = {}
        self._threads = ThreadExecutor(self, worker, min(capacity.threads, capacity.concurrency))
        self._tasks = LoopExecutor(self, worker, capacity.concurrency)
        self._executors: dict[str, Executor] = {"loop": self._tasks, "thread": self._threads}
        self._deadlines = Deadlines(self._too_long)
        self._stand_in = StandIn()
        self._processes: ProcessExecutor | None = None
        self.notes = NoteTaker()
        """What runs have said, to be noted in front of their outcomes."""
        if capacity.target is not None:
            processes = min(capacity.job_processes, capacity.concurrency)
            kinds = {"loop": self._tasks, "thread": self._threads}
            self._processes = ProcessExecutor(self, worker, processes, capacity.target, kinds)
            self._executors["process"] = self._processes
        self.alive_until = math.inf
        """See `Performance.alive_until`."""
        self.executing = 0
        """Claimed jobs that have not come to an outcome."""

    @property
    def lost(self) -> int:
        """Threads and places on the loop with code that does not stop."""
        return self._threads.lost + self._tasks.lost

    def held(self) -> dict[UUID, bytes]:
        """What is here until it is settled: jid → claim token."""
        return {active.run.claimed.jid: active.run.claimed.token for active in self._active.values()}

    def listen(self) -> bool:
        """Take what running jobs have said; True when there is something to note."""
        return self.notes.look(active.run for active in self._active.values() if not active.done)

    @property
    def idle(self) -> bool:
        """Nothing is here."""
        return not self._active

    def running_in(self, task: asyncio.Task[object]) -> str:
        """Which job a task of this loop performs, in words. May be asked from another thread."""
        active = self._tasks.running_in(task)
        return "no job" if active is None else f"job {active.run.registered.name} {active.run.claimed.jid}"

    async def stacks(self, jid: UUID | None = None) -> str:
        """Where the code of what runs here is now, the longest first; of one job with its jid."""
        runs = [it for it in self._active.values() if it.started and not it.done and jid in (None, it.run.claimed.jid)]
        shown = sorted(runs, key=lambda it: it.started)[:JOBS]
        texts = await asyncio.gather(*(it.executor.stack(it) for it in shown))
        return told(self._worker, [*zip(shown, texts, strict=True)], left=len(runs) - len(shown), jid=jid)

    def room(self, coming: int = 0) -> int:
        """How many more jobs fit, beside those that are `coming`."""
        return claimable(self._capacity.concurrency, self.executing, self._places(), coming=coming)

    def _places(self) -> list[Places]:
        return [self._executors[name].places() for name in self._served]

    # From claim to outcome

    def begin(self, jobs: Iterable[Claimed]) -> None:
        """Perform jobs, as they are filled, now or when there is a place for them. A run of an older claim of one,
        which was taken back and came here again before a beat could say so, is not to go on beside it."""
        registry, worker, executors = self._registry, self._worker, self._executors
        for claimed in jobs:
            jid = claimed.jid.int
            if jid in self._active:
                self.drop(claimed.jid)
            run = resolve(claimed, registry, worker)
            if not isinstance(run, Verdict) and run.registered.executor not in self._familiar:
                run = self._admitted(run)
            if isinstance(run, Verdict):
                self._log.ended("job", run.outcome, run)
                self._report([run.outcome])
                self._wake()
                continue
            suspect = claimed.crashes and self._suspect(claimed)
            executor = executors.get("process" if suspect else run.registered.executor)
            self._active[jid] = active = Active(run, executor or executors[run.registered.inside])
            self.executing += 1
            if executor is None:
                self.cannot(active, "this worker does not know where job processes import the app")
            else:
                executor.put(active)

    def _admitted(self, run: Run) -> Run | Verdict:
        """A kind that no job of the served queues has is counted from its first job on. What was claimed ahead before
        is then given back, where it would run beside one that it is to share a place with."""
        if run.registered.executor in self._executors:
            self._served.add(run.registered.executor)
            self._familiar = frozenset()
        if self.executing >= self._capacity.concurrency and shared(self._capacity.concurrency, self._places()):
            return released(run.claimed, "no place became free")
        return run

    def _suspect(self, claimed: Claimed) -> bool:
        """This job has ended so many processes that one more is its last: it gets one of its own, and its neighbours
        are safe from it."""
        return "process" in self._executors and claimed.crashes >= max(1, self._capacity.max_crashes - 1)

    def settled(self, outcomes: Iterable[Outcome], accepted: Iterable[bool]) -> list[tuple[Outcome, Active]]:
        """The store has answered for these outcomes: the runs are forgotten. Those whose outcomes it keeps are returned
        with them, and handlers are told."""
        kept = []
        for outcome, answer in zip(outcomes, accepted, strict=True):
            active = self._active.get(outcome.jid.int)
            if active is not None and active.run.claimed.token == outcome.token:
                del self._active[outcome.jid.int]
                if answer:
                    kept.append((outcome, active))
                    if active.event is not None and self._announcer is not None:
                        self._announcer.say(active.event)
            if not answer:
                log.warning("job %s: the lease was lost, so its outcome (%s) counts no more", outcome.jid, outcome.move)
        return kept

    # Ending a run

    def stop(self, jid: UUID, why: Literal["timeout", "cancelled", "shutdown"]) -> None:
        """End a run that is not to go on."""
        self._stop(self._active[jid.int], why)

    def drop(self, jid: UUID) -> None:
        """The lease of this run was lost: stop it and report nothing."""
        log.warning("job %s: the lease was lost, another worker owns it; this run is stopped", jid)
        active = self._active.pop(jid.int)
        if not active.done:
            self._close([active])
            active.run.context.stop("lost")
            if not active.executor.withdraw(active):
                active.executor.stop(active)
            self._wake()

    def release_unstarted(self) -> None:
        """Give back what has not begun."""
        for active in [*self._active.values()]:
            if not active.done and active.executor.withdraw(active):
                self._withdrawn(active, "shutdown")

    def stop_all(self) -> None:
        """End every run, because the worker goes."""
        for active in [*self._active.values()]:
            self._stop(active, "shutdown")

    async def close(self) -> None:
        """Give back what still runs, and leave nothing behind."""
        running = [active for active in self._active.values() if not active.done]
        for active in running:
            active.run.context.stop("shutdown")
        self._said_worn_out = True  # who goes asks for nobody
        self._deadlines.close()
        for executor in self._executors.values():
            await executor.close()
        for active in running:
            self.given_up(active, "does not stop")
        await self._stand_in.close()

    def _stop(self, active: Active, why: Literal["timeout", "cancelled", "shutdown"]) -> None:
        if active.done or active.run.stopped:
            return
        if active.executor.withdraw(active):
            self._withdrawn(active, why)
            return
        active.run.context.stop(why)
        active.executor.stop(active)

    def _withdrawn(self, active: Active, why: Literal["timeout", "cancelled", "shutdown"]) -> None:
        active.run.context.stop(why)
        self.given_up(active, "never begun")

    def _close(self, closed: Sequence[Active]) -> None:
        self.executing -= len(closed)
        for active in closed:
            active.done = True
            if active.watched:
                self._deadlines.over()

    def _too_long(self, active: Active) -> None:
        limit = active.run.timeout or 0.0
        if active.started and monotonic() - active.started > limit * 0.99:  # else it has begun anew, or waits to
            self._stop(active, "timeout")

    # What the executors say

    def began(self, active: Active, now: float) -> None:
        """See `Performance.began`."""
        active.started = now
        if self._announcer is not None:
            self._announcer.started(active.run)

    def goes_on(self, active: Active) -> None:
        """See `Performance.goes_on`."""
        active.logged = True
        self._log.started(active.run, active.started)
        if active.run.timeout is not None and not active.done:
            active.watched = True
            self._deadlines.add(active, active.run.timeout)

    def ended(self, active: Active, verdict: Verdict, now: float) -> None:
        """See `Performance.ended`."""
        if not active.done:
            active.took = now - active.started if active.started else None
            self.all_ended([(active, verdict)])

    def given_up(self, active: Active, why: str) -> None:
        """See `Performance.given_up`."""
        if not active.done:
            verdict = judge(active.run, JobTimeout(why), self._worker)
            self.ended(active, verdict, monotonic())
            self._stand_in.say(active.run, verdict)

    def all_ended(self, ended: Sequence[tuple[Active, Verdict]]) -> None:
        """See `Performance.all_ended`."""
        self._log.finished(ended)
        self._close([active for active, _ in ended])
        announcer = self._announcer
        for active, verdict in ended:
            if active.run.context.notebook is not None:
                self.notes.ended(active.run)
            if announcer is not None:
                active.event = announcer.outcome(active.run, verdict, active.took or 0.0)
        self._report([verdict.outcome for _, verdict in ended])
        self.place_freed()

    def overdue(self, waiting: Sequence[Active]) -> None:
        """See `Performance.overdue`. Given back to whoever is free, but for those that the next claim would only fetch
        again: of several kinds as many as may wait, and where only suspects have processes those that wait for one."""
        executor, kinds = waiting[0].executor, [self._executors[name] for name in self._served]
        served = executor in kinds
        fetched = executor.places().size if served and len(kinds) > 1 else 0
        for active in waiting[fetched:]:
            if not (active.done or (not served and executor.has_place(active))) and executor.withdraw(active):
                self.ended(active, released(active.run.claimed, "no place became free"), monotonic())

    def cannot(self, active: Active, why: str) -> None:
        """See `Performance.cannot`. A suspect runs where its kind runs: its last life is worth a try."""
        if active.done:
            return
        inside = active.run.registered.executor
        if inside != "process":
            log.warning("job %s cannot have a process of its own: %s", active.run.claimed.jid, why)
            active.executor = self._executors[inside]
            active.executor.put(active)
            active.executor.fill_soon()
            return
        verdict = postponed(active.run.claimed, why, why)
        self._close([active])
        self._log.ended(active.run.registered.name, verdict.outcome, verdict)
        self._report([verdict.outcome])
        self._wake()

    def place_freed(self) -> None:
        """See `Performance.place_freed`."""
        self._wake()
        if self._processes is not None and self._processes.has_suspects:
            self._processes.fill_soon()

    def refill(self, *, soon: bool = False) -> None:
        """Begin what waits, now or as the loop turns. Called when the store has said what is ours."""
        for executor in self._executors.values():
            if executor.waiting:
                (executor.fill_soon if soon else executor.fill)()

    # Code that does not stop

    def written_off(self, active: Active) -> None:
        """See `Performance.written_off`. This worker should then be replaced: at once when no place of that kind is
        left, else when one stays lost."""
        self.given_up(active, "does not stop")
        if active.run.stopped == "shutdown":
            return
        if any(it.lost == it.size for it in (self._threads, self._tasks)):
            self._say_worn_out()
        elif not self._said_worn_out:
            self._loop.call_later(CANCEL_GRACE, self._say_worn_out)

    def _say_worn_out(self) -> None:
        if self.lost and not self._said_worn_out:
            self._said_worn_out = True
            kinds = ((self._threads, "threads"), (self._tasks, "places on the loop"))
            lost = " and ".join(f"{it.lost} of {it.size} {what}" for it, what in kinds if it.lost)
            self._worn_out(f"{lost} are lost to jobs that do not stop")
