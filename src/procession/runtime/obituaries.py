"""Tells of runs that ended with their process: nothing of them is left to speak for itself.

Their error joins its group. Where it was the job's last, the app's handlers hear `failed`, and its `exhausted` hook is
called here, in a queue worker that lives. At most once, and after the store has moved the job: whoever dies before it
has told takes the word along. The store hands each death out once, with a heartbeat; what ended with a job process of
our own we know ourselves. Made and fed by `queue_worker.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Raw
from msgspec.json import encode

from procession.codec import encode_failure, encode_spec
from procession.database import Database, Death
from procession.errors import StoreRefused, Unavailable
from procession.events import Event
from procession.job import Claimed, Job, Outcome, Spec, SpecOptions, State
from procession.moves import Move
from procession.registry import Registry
from procession.runtime.announcing import Announcer
from procession.runtime.executor import Run, Verdict, resolve
from procession.runtime.meter import Meter
from procession.runtime.outage import Patient
from procession.runtime.stand_in import StandIn

log = logging.getLogger("procession.worker")

DIED = ("WorkerDied", "ProcessDied")
"""Types of the failures that are told of here."""


class Obituaries:
    """What one queue worker tells of. Used on its loop; `run` goes on until it is cancelled."""

    def __init__(
        self,
        registry: Registry,
        worker: str,
        database: Database,
        patient: Patient,
        *,
        meter: Meter,
        announcer: Announcer | None,
    ) -> None:
        self._registry = registry
        self._worker = worker
        self._database = database
        self._patient = patient
        self._meter = meter
        self._announcer = announcer
        self._stand_in = StandIn()
        self._dead: list[tuple[Death, bool]] = []
        self._wanted = asyncio.Event()

    def died(self, deaths: Sequence[Death], *, grouped: bool = False) -> None:
        """These runs ended with their process; `grouped` when their errors are counted already."""
        self._dead += [(death, grouped) for death in deaths]
        if deaths:
            self._wanted.set()

    async def run(self) -> None:
        """Tell, one job after the other."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            dead, self._dead = self._dead, []
            with suppress(Unavailable, StoreRefused):  # we are to stop, and the store is away
                jobs = await self._patient.ask(self._database.find([death.jid for death, _ in dead]))
                for (death, grouped), job in zip(dead, jobs, strict=True):
                    try:
                        if job is not None:
                            await self._tell(job, death, grouped=grouped)
                    except Exception:  # the next ones are to be told of all the same
                        log.exception("job %s: how it died could not be told", death.jid)

    async def close(self) -> None:
        """Let go of the hook that is called."""
        await self._stand_in.close()

    async def _tell(self, job: Job, death: Death, *, grouped: bool) -> None:
        died = [it for it in job.failures if it.type in DIED]
        since = max(job.crashes - death.crashes, 0)
        if since >= len(died):
            return  # that error is not kept any more
        failure = died[-1 - since]
        ended = since == 0 and job.state is State.FAILED and job.reason == "poison"
        self._meter.died(job, failure, grouped=grouped, ended=ended)
        if not ended:
            return
        if self._announcer is not None:
            self._announcer.say(
                Event(
                    kind="failed", jid=job.jid, name=job.name, queue=job.queue, attempt=job.attempt,
                    error=f"{failure.type}: {failure.message}", reason=job.reason,
                )
            )  # fmt: skip
        run = self._run_of(job)
        if run is not None:
            told = Outcome(jid=job.jid, token=b"", move=Move.FAIL, failure=encode_failure(failure))
            saying = self._stand_in.say(run, Verdict(told))
            if saying is not None:
                await saying

    def _run_of(self, job: Job) -> Run | None:
        """What stands for the run that is gone; None where its name is not known."""
        spec = encode_spec(Spec(job.name, Raw(encode(job.args)), SpecOptions(tags=job.tags, headers=job.headers)))
        it = Claimed(job.jid, b"", job.queue, spec, job.attempt, job.crashes, fence=0)
        run = resolve(it, self._registry, self._worker)
        return run if isinstance(run, Run) else None
