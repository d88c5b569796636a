"""One random schedule: queue workers, a producer and somebody who cancels, over a store whose answers go astray.

The queue workers are the real ones. Only the network (`faulty.py`) and time (`virtual.py`) are not; the store is the
memory database, which the state machine of this folder compares with a real server. A seed decides everything. At its
end the weather clears, everything is drained, and what came out is compared with what went in: the total-queue check of
Jepsen (github.com/jepsen-io/jepsen, `checker/total-queue`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Coroutine
from contextvars import ContextVar
from itertools import count
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import UUID

import msgspec

from procession import EnqueueError, Job, Procession, Retry, Snooze, State, constant
from procession.database import open as open_database
from procession.errors import DatabaseError
from procession.job import Crash
from procession.runtime.heartbeat import LeaseKeeper
from procession.runtime.queue_worker import QueueWorker
from procession.testing.contract.invariants import check_invariants
from tests.model.faulty import FaultyConnection, Weather
from tests.model.virtual import VirtualLoop, run

NOW = 1_800_000_000_000
JOBS = 24
WORKERS = 3
STORM = 60.0
"""Seconds of virtual time during which things go wrong."""
DRAINED = 900.0
"""Seconds of virtual time after which everything has ended, or it never will."""
NUMBERS = count(1)

NETWORK = Weather(unasked=0.05, lost=0.12, cut=0.06, late=0.06, refused=0.03, deaf=0.3, delay=0.2)
"""Faults that force no job to run twice."""
DISASTER = Weather(unasked=0.05, lost=0.1, cut=0.05, late=0.05, refused=0.02, held=0.02, deaf=0.3, delay=0.3)
"""These, and pauses longer than a lease."""

crew: ContextVar[list[asyncio.Task[Any]] | None] = ContextVar("crew", default=None)
"""The tasks of one queue worker's process, so that they can all die together."""


class Process(NamedTuple):
    """A queue worker, its life, and all tasks that end with its process."""

    worker: QueueWorker
    life: asyncio.Future[None]
    tasks: list[asyncio.Task[Any]]


class Schedule:
    """One run from a seed."""

    def __init__(self, seed: int, weather: Weather, *, deaths: int = 0) -> None:
        self.dice = Random(seed)
        self.seed = seed
        self.weather = msgspec.structs.replace(weather)
        self.deaths = deaths
        self.loop = VirtualLoop()
        self.loop.set_task_factory(_in_its_crew)
        name = f"memory://schedule{next(NUMBERS)}"
        self.real = open_database(name, now=lambda: NOW + round(self.loop.time() * 1_000))
        self.app = Procession(name)
        self.app.__dict__["database"] = self
        self.runs: Counter[int] = Counter()
        self.running: Counter[int] = Counter()
        self.overlapping: set[int] = set()
        self.cancelled: set[UUID] = set()
        self.acknowledged: dict[UUID, int] = {}
        self.processes: list[Process] = []
        self.born = count(1)
        self.killed: set[str] = set()
        self.dead: list[list[asyncio.Task[Any]] | None] = []
        """The crews of processes that died."""
        self.job = self._job()

    def __getattr__(self, name: str) -> Any:
        """As a database: the verbs of the real one."""
        return getattr(self.real, name)

    def connect_async(self, budget: float = 2.0) -> FaultyConnection:
        """As a database: a connection on which things go wrong."""
        mine, dice = crew.get(), Random(self.dice.random())

        def dead() -> bool:
            return any(it is mine for it in self.dead)

        return FaultyConnection(self.real.connect_async(budget), self.weather, dice, dead)

    def _job(self) -> Any:
        @self.app.job(name="job", queue="q", retry=Retry(attempts=3, backoff=constant(2.0)), timeout=None)
        async def job(n: int) -> int:
            self.runs[n] += 1
            self.running[n] += 1
            if self.running[n] > 1:
                self.overlapping.add(n)
            try:
                await asyncio.sleep(Random(f"{self.seed}/{n}").choice([0.0, 0.5, 3.0, 25.0]))
            finally:
                self.running[n] -= 1
            return verdict(n, self.runs[n])

        return job

    # What happens

    async def main(self) -> None:
        """Producer, workers, cancellations and deaths through the storm; then the calm, and the drain."""
        producing = asyncio.ensure_future(self.produce())
        for _ in range(WORKERS):
            self.start()
        others = [asyncio.ensure_future(self.cancel_some()), asyncio.ensure_future(self.kill_some())]
        await asyncio.sleep(STORM)
        self.weather.clear_up()
        await asyncio.gather(producing, *others)
        ask = self.real.connect_async().ask
        while len(self.acknowledged) > sum((await self.kept(ask)).values()):
            assert self.loop.time() < DRAINED, f"never drained: {await ask(self.real.counts())}"
            await asyncio.sleep(1.0)
        await asyncio.sleep(self.weather.lateness + self.weather.holding)  # what is still on its way arrives
        for process in self.processes:
            process.worker.stop()
        await asyncio.gather(*(process.life for process in self.processes))
        await self.app.close_async()

    async def kept(self, ask: Any) -> dict[str, int]:
        """Final jobs by state."""
        counts = await ask(self.real.counts())
        return {state: getattr(counts, f"kept_{state}") for state in ("processed", "failed", "cancelled")}

    async def produce(self) -> None:
        """Enqueue every job, with the same jid until the store says that it has it."""
        for n in range(JOBS):
            jid = UUID(int=(self.seed << 32) + n + 1)
            delay = self.dice.choice([0.0, 0.0, 4.0])
            while jid not in self.acknowledged:
                try:
                    await self.job.using(jid=jid, delay=delay).enqueue_async(n)
                    self.acknowledged[jid] = n
                except EnqueueError:
                    await asyncio.sleep(0.3)
            await asyncio.sleep(self.dice.uniform(0.0, 1.5))

    def start(self) -> None:
        """A queue worker in a process of its own."""
        worker = QueueWorker(self.app, concurrency=3, worker_id=f"w{next(self.born)}")
        tasks: list[asyncio.Task[Any]] = []
        token = crew.set(tasks)
        self.processes.append(Process(worker, asyncio.ensure_future(worker.run()), tasks))
        crew.reset(token)

    async def kill_some(self) -> None:
        """Some processes die; the supervisor sees it, or nobody does; others take their place."""
        ask = self.real.connect_async().ask
        for _ in range(self.deaths):
            await asyncio.sleep(self.dice.uniform(0.0, STORM / self.deaths))
            process = self.processes.pop(self.dice.randrange(WORKERS))
            self.dead.append(process.tasks)
            for task in process.tasks:
                task.cancel()
            self.killed.add(process.worker.id)
            await asyncio.gather(*process.tasks, return_exceptions=True)
            if self.dice.random() < 0.5:
                await ask(self.real.leave(process.worker.id, crash=Crash(how="signal 9")))
            self.start()

    async def cancel_some(self) -> None:
        """Somebody cancels jobs now and then."""
        for _ in range(3):
            await asyncio.sleep(self.dice.uniform(0.0, STORM / 3))
            if self.acknowledged:
                jid = self.dice.choice([*self.acknowledged])
                self.cancelled.add(jid)
                try:
                    await self.app.cancel_async(jid)
                except DatabaseError:
                    continue

    # What came out

    def check(self, *, forced: bool) -> None:
        """Nothing lost, nothing unheard of, nothing settled twice; nothing run twice unless a fault forced it."""
        connection = self.real.connect()
        found: dict[UUID, Job | None] = dict(
            zip(self.acknowledged, connection.ask(self.real.find([*self.acknowledged])), strict=True)
        )
        counts = connection.ask(self.real.counts())
        assert counts.enqueued == len(self.acknowledged) == JOBS
        assert counts.processed + counts.failed + counts.cancelled == JOBS, f"settled twice: {counts}"
        for jid, n in self.acknowledged.items():
            job = found[jid]
            assert job is not None, f"lost: {n}"
            assert forced or not job.crashes, f"job {n} was taken back though its worker lived"
            self._check_job(n, job)
        check_invariants(self.real, connection.ask)
        known = {info.id for info in connection.ask(self.real.workers())}
        assert known <= self.killed, "a queue worker that left is still known"

    def _check_job(self, n: int, job: Job) -> None:
        runs, wanted = self.runs[n], planned(n)
        assert job.state.final, job
        assert n not in self.overlapping or job.crashes, f"job {n} ran twice at once"
        if job.jid in self.cancelled:
            assert runs <= wanted + job.crashes
        elif job.reason == "poison":
            assert job.crashes == 3
        else:
            assert job.state is (State.FAILED if n % 6 == 4 else State.PROCESSED), job
            assert wanted <= runs <= wanted + job.crashes, f"job {n} ran {runs} times, {wanted} were wanted: {job}"


def verdict(n: int, run: int) -> int:
    """What job `n` comes to in its `run`-th run: most return, some fail once or always, some ask for more time."""
    if n % 6 == 3 and run == 1:
        raise ValueError("once")
    if n % 6 == 4:
        raise ValueError("always")
    if n % 6 == 5 and run == 1:
        raise Snooze(3.0)
    return n


def planned(n: int) -> int:
    """How many runs job `n` needs when no process dies."""
    return {3: 2, 4: 3, 5: 2}.get(n % 6, 1)


def _in_its_crew(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> Any:
    task = asyncio.Task(coroutine, loop=loop, **options)
    mine = crew.get()
    if mine is not None:
        mine.append(task)
    return task


def perform(seed: int, weather: Weather, *, deaths: int = 0) -> None:
    """Run one schedule and check it; AssertionError names the seed."""
    before = random.getstate()
    random.seed(seed)
    logging.disable(logging.ERROR)  # thousands of lines on outages that are meant
    try:
        schedule = Schedule(seed, weather, deaths=deaths)
        with patch.object(LeaseKeeper, "start", lambda keeper: None):  # a thread has no place on virtual time
            run(schedule.main(), schedule.loop)
        schedule.check(forced=bool(deaths or weather.held))
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        random.setstate(before)
        logging.disable(logging.NOTSET)
