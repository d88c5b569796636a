"""The loop that claims and settles jobs: one turn is one round trip.

A turn settles what has finished, beats when it is time, promotes what is due, and claims what fits into the free
places. It runs when an outcome is ready, a bell rings, or a timer says so. Everything that claims or settles happens
inside a turn, so what the store believes and what runs here can be compared there without a race. What happens to a
job between claim and outcome is the performer's affair.

1. claim → `Performer.begin`
2. the attempt's outcome → outbox → settled in the next turn
3. stop: claim nothing → release what has not begun → wait → cancel → release, uncharged → settle → leave
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from procession.client import Procession
from procession.clock import milliseconds, monotonic
from procession.database import Beat, Claims, Death, Promoted
from procession.errors import ConfigError, StoreRefused, Unavailable
from procession.job import Outcome
from procession.moves import Move
from procession.runtime.admission import be_admitted
from procession.runtime.alarm import Alarm
from procession.runtime.announcing import Announcer
from procession.runtime.beside import beside
from procession.runtime.capture import capturing
from procession.runtime.claiming import Claim, Claiming
from procession.runtime.coroutines import begun
from procession.runtime.executor import CANCEL_GRACE, CRASH, POSTPONE
from procession.runtime.heartbeat import LeaseKeeper, compare
from procession.runtime.identity import described, new_worker_id
from procession.runtime.joblog import JobLog
from procession.runtime.listening import Listener
from procession.runtime.meter import Meter
from procession.runtime.notetaker import EVERY
from procession.runtime.obituaries import Obituaries
from procession.runtime.orders import Orders
from procession.runtime.outage import LONGEST_PAUSE, Patient
from procession.runtime.outbox import BATCH, Outbox
from procession.runtime.performer import Capacity, Performer
from procession.runtime.pulse import Beating
from procession.runtime.scheduler import pruning
from procession.runtime.scheduling import Scheduler
from procession.runtime.target import found_target
from procession.runtime.trip import Trip
from procession.runtime.turns import Turns
from procession.runtime.wear import Wear
from procession.serving import QueueOrder, check_order, shares_of

log = logging.getLogger("procession.worker")

PROMOTED = 500
DUTIES = 500
"""Most jobs that the duties within one heartbeat recover, and promote."""
JITTER = (0.75, 0.8)
"""A heartbeat comes after this part of its interval, drawn anew: 3.75 to 4 s of 5, so a dead worker is soon seen."""
GIVES_WAY, BEHIND = 60.0, 0.25
"""For so many seconds after it put back a job that it cannot perform, a worker looks so many seconds later at what is
due, so that others are first: of two versions of an app one may know the job."""


class QueueWorker:
    """Performs the jobs of some queues until it is told to stop.

    Args:
        app: whose jobs; its registry says which names are known.
        queues: which queues, such as "mail" or "mail:3" with a share; None means those of the settings, else every
            queue that a registered job names.
        queue_order, ageing: which job is next, see `Settings`; by default as they say.
        concurrency, threads: places for `async def` jobs (and all claimed jobs together), and for `def` jobs.
        target: `module:app`, what job processes import; None leaves it to be found among the imported modules, and ""
            says that there are none.
        burst: stop when nothing is ready and nothing runs, schedules that are due as it begins included.
        worker_id: its name in the store, new for each start: two of one name keep, take and stop each other's jobs.
        pulse: by which a supervisor feels that this worker lives.
        wear: when to ask to be replaced; from the settings by default.
        schedules: who fires what is due; by default one that declares what stands in the app's code.
    """

    def __init__(
        self,
        app: Procession,
        *,
        queues: Sequence[str] | None = None,
        queue_order: QueueOrder | None = None,
        ageing: float | str | None = None,
        concurrency: int | None = None,
        threads: int | None = None,
        target: str | None = None,
        burst: bool = False,
        worker_id: str | None = None,
        verbose: bool = False,
        pulse: Beating | None = None,
        wear: Wear | None = None,
        schedules: Scheduler | None = None,
    ) -> None:
        settings = app.settings
        self.app = app
        self.id = worker_id or new_worker_id()
        shares = shares_of(queues or settings.queues or app.registry.queues())
        order = queue_order or settings.queue_order
        if not shares:
            raise ConfigError("there is nothing to serve: the app has no jobs, and no queue was named")
        check_order(order, shares)
        self.queues = [*shares]
        self.concurrency, self.threads = concurrency or settings.concurrency, threads or settings.threads
        self.burst = burst
        served = frozenset(it.executor for it in app.registry if it.queue in self.queues)
        self._capacity = Capacity(
            served=served,
            concurrency=self.concurrency,
            threads=self.threads,
            job_processes=settings.job_processes,
            target=found_target(app, needed="process" in served) if target is None else target or None,
            max_crashes=settings.max_crashes,
        )
        self._database = app.database
        self._lease = milliseconds(settings.lease, "lease")
        age = milliseconds(settings.ageing if ageing is None else ageing, "ageing")
        self._claiming = Claiming(app.database, self.id, Turns(shares, order), lease=self._lease, ageing=age)
        self._beat_every = milliseconds(settings.heartbeat, "heartbeat") / 1_000
        self._grace = milliseconds(settings.grace, "grace") / 1_000
        self._log = JobLog(verbose)
        self._pulse, self._wear = pulse or Beating(), wear or Wear.of(settings)
        self._wake, self._stopping, self._outbox = asyncio.Event(), asyncio.Event(), Outbox()
        self.orders = Orders(self.id, app.database, self._pulse, stop=self.stop_once, changed=self._steered)
        self._schedules = schedules or Scheduler.of(app)
        self._meter = Meter(self.id)
        self.cut_short = False
        """A burst has ended before its time: all places are lost to jobs that do not stop."""
        self._hungry, self._turning = True, asyncio.Lock()
        self._beat_alarm, self._due_alarm = Alarm(self._wake.set), Alarm(self._wake.set)
        self._beat_alarm.ring()
        self._stop_level = self._settled_jobs = 0
        self._started, self._gives_way_until = monotonic(), -math.inf

    # Life

    async def run(self) -> None:
        """Perform jobs until `stop`, or with `burst` until nothing is ready.

        Cancelled, as by Ctrl-C in `asyncio.run`, it gives back at once what runs, uncharged, and leaves. It waits at
        most 6 s for runs that do not end; cancelled again, it does not.

        Raises:
            DatabaseError: the store refuses us.
            ConfigError: the store throws keys away when it is full, and `allow_eviction` is not set.
            Exception: what the app's lifespan raises when it opens its resources, or what broke a part of the worker.
        """
        self._loop = asyncio.get_running_loop()
        self._keeper = LeaseKeeper(
            self._database, self.id, lease=self._lease, heartbeat=self._beat_every, every=self._pulse.every,
            blocked=self._pulse.blocked, running_in=lambda task: self._performer.running_in(task),
        )  # fmt: skip
        opened = self.app.registry.policies.lifespan.opened(self.app, self._stopping)
        async with beside(self._pulse.run(self._look), broken=self.stop_once), opened:  # it is felt until all is closed
            await self._run()

    async def _run(self) -> None:
        settings, announcer = self.app.settings, Announcer.of(self.app.registry.policies.handlers)
        self._wake.set()
        self._performer = Performer(
            self.app.registry, self.id, self._capacity, job_log=self._log, report=self._outbox.put, wake=self._wake.set,
            worn_out=self._pulse.worn_out, announcer=announcer,
        )  # fmt: skip
        budget = milliseconds(settings.budget) / 1_000
        pause = min(LONGEST_PAUSE, self._lease / 5_000)  # well within a lease, or it ends while we only wait
        connection = self._database.connect_async(budget)
        self._patient = Patient(connection, self._pulse.turned, pause, self._stopping, lambda: self._listener.anew())
        self._listener = Listener(
            self._patient, self.queues, f"@{self.id}",
            left=lambda: min(self._due_alarm.left, self._lease / 1_500),  # a claim lies for less than a lease
            quiet=lambda: self.orders.quiet is not None,
            ahead=self._ahead, came=self._came, unheard=self._unheard, rung=self._rung, called=self._called,
        )  # fmt: skip
        self._obituaries = Obituaries(
            self.app.registry, self.id, self._database, self._patient, meter=self._meter, announcer=announcer
        )
        self._keeper.start()
        log.info("%s serves %s: %d places, %d threads", self.id, ", ".join(self.queues), self.concurrency, self.threads)
        work = (
            self._listener.run(), self._take_notes(), self._obituaries.run(), self._schedules.run(self._patient),
            pruning(self._patient, self._database), self.orders.run(self._patient, self._performer.stacks),
        )  # fmt: skip
        try:
            async with beside(*work, broken=self.stop_once):
                with capturing(settings.capture_logs):
                    try:
                        await be_admitted(self._patient, self._database, allow_eviction=settings.allow_eviction)
                        if self.burst:
                            await self._schedules.looked.wait()
                        await self._work()
                        await self._wind_down()
                    except asyncio.CancelledError:
                        await self._let_go()
                        raise
        finally:
            self._keeper.close()
            await self._obituaries.close()
            await self._performer.close()
            if announcer is not None:
                await announcer.close()
            await self._patient.connection.close()

    def stop(self) -> None:
        """Stop: the first time finish what runs, the second time release it at once. Call it on the worker's loop."""
        self._stop_level += 1
        self._stopping.set()
        self._wake.set()

    def request_stop(self) -> None:
        """`stop` from any thread or signal handler."""
        self._loop.call_soon_threadsafe(self.stop)

    def stop_once(self) -> None:
        """`stop`, unless that was asked for before: what is to finish its jobs is not told to let go of them."""
        if not self._stop_level:
            self.stop()

    async def _work(self) -> None:
        while self._stop_level == 0:
            await self._wake.wait()
            self._wake.clear()
            if self._stop_level:
                return
            try:
                empty = await self._one_turn()
            except (Unavailable, StoreRefused):  # while we stop; nobody waits for a store that is away then
                return
            if self.burst and self._performer.idle and not len(self._outbox):
                done = empty or self.orders.quiet is not None
                if done or not self._places():
                    self.cut_short = not done
                    return
                self._hungry = True  # one more claim says whether that was all
                self._wake.set()

    # One turn

    async def _one_turn(self, *, claiming: bool = True) -> bool:
        """Settle, beat, promote, claim: whatever is wanted, in one trip. True when a claim found nothing."""
        async with self._turning:
            trip, empty, claimed = self._set_out(claiming=claiming), False, False
            while trip is not None:
                answers = trip.named(await trip.answers)
                self._performer.notes.noted(trip.notes)
                self._outbox.settled(len(trip.outcomes))
                following = self._following(trip, answers)
                empty = self._worked_on(trip, answers, taken=following is not None)
                claimed = claimed or trip.claim is not None
                trip = following
            self._listener.turned(hungry=self._hungry, claimed=claimed)
            return empty

    def _set_out(self, *, claiming: bool = True, coming: int = 0) -> Trip | None:
        """Ask what is wanted now; None when nothing is. So many jobs are `coming` with answers that are here."""
        notes = self._performer.notes.taken()
        trip = Trip(monotonic(), self._outbox.taken(), len(notes))
        if notes:
            trip.asked["noted"] = self._database.note(notes)
        if trip.outcomes:
            trip.asked["settled"] = self._database.settle(self.id, trip.outcomes)
            if POSTPONE in [outcome.move for outcome in trip.outcomes]:
                self._gives_way_until = trip.at + GIVES_WAY
        if trip.at >= self._beat_alarm.at:
            served = self.queues if claiming else ()  # who goes is told of no deaths
            trip.asked["beat"] = self._database.heartbeat(
                self.id, lease=self._lease, info=self._info(), queues=served, limit=DUTIES
            )
        if claiming and trip.at >= self._due_alarm.at:
            trip.asked["promoted"] = self._database.promote(PROMOTED)
            self._hungry = True
        if limit := self._places(coming) if claiming and self._hungry else 0:
            trip.claim = self._claiming.in_turn(limit)
            trip.asked["claims"] = trip.claim.operation
            self._hungry = False  # a bell that rings while the answer is on its way means what comes after the claim
        if not trip.asked:
            return None
        if self._meter.due(trip.at):
            trip.asked = {"measured": self._database.measure(*self._meter.taken(trip.at)), **trip.asked}
        self._pulse.turned()
        trip.answers = begun(self._patient.ask(*trip.asked.values()))
        return trip

    def _following(self, trip: Trip, answers: dict[str, Any]) -> Trip | None:
        """The next trip, if it can set out before the answers to this one are worked on, so that store and worker are
        busy at once: there is more to claim, and nothing that came is to be compared with what runs here."""
        if trip.claim is None or "beat" in answers or self._stop_level:
            return None
        coming = len(answers["claims"].jobs)
        if coming < trip.claim.limit or not self._places(coming):
            return None
        self._taken(trip.claim, answers["claims"])
        return self._set_out(coming=coming)

    def _worked_on(self, trip: Trip, answers: dict[str, Any], *, taken: bool) -> bool:
        """Work on the answers; the claim is `taken` when the next trip knows of it. True when it found nothing."""
        if trip.outcomes:
            self._settled(trip.outcomes, answers["settled"])
        if "beat" in answers:
            self._beat(answers["beat"], asked=trip.claim is not None)
        if "beat" in answers or trip.claim is not None:  # what was lost is dropped by now: threads begin by themselves
            self._performer.alive_until = trip.at + self._lease / 1_000
            self._keeper.touched()
        if "beat" in answers:
            self._performer.refill()
        if "promoted" in answers:
            self._due(answers["promoted"])
        if len(self._outbox):
            self._wake.set()
        if trip.claim is None:
            return False
        if not taken:
            self._taken(trip.claim, answers["claims"])
        return self._begin(answers["claims"])

    def _settled(self, outcomes: list[Outcome], accepted: list[bool]) -> None:
        kept = self._performer.settled(outcomes, accepted)
        self._meter.add(kept)
        dead = [Death(outcome.jid, it.run.claimed.crashes + 1) for outcome, it in kept if outcome.move == CRASH]
        self._obituaries.died(dead, grouped=True)
        self._settled_jobs += len(outcomes)

    def _beat(self, beat: Beat, *, asked: bool) -> None:
        """What a heartbeat says; `asked` when a claim was made in its trip."""
        self._pulse.serves()
        self._beat_alarm.ring_in(0.0 if beat.recovered >= DUTIES else self._beat_every * random.uniform(*JITTER))
        self._obituaries.died(beat.deaths)
        if beat.left and self._stop_level < 3:
            log.error("the store knows %s as one that left; give each start a name of its own (worker_id=)", self.id)
        if beat.recovered:
            log.warning("took back %d jobs of workers whose lease ended", beat.recovered)
        if beat.repaired:
            log.warning("mended the store in %d places; `procession repair` looks for more", beat.repaired)
        if beat.ready and not self._hungry:
            self._rung(hungry=True)
        self._due(beat)
        self.orders.hear(beat.orders)
        conclusion = compare(beat.held, self._performer.held())
        self._claiming.compared_at = beat.now
        for jid in conclusion.lost:
            self._performer.drop(jid)
        claiming = asked or not (self._stop_level or self.orders.quiet)
        for held in self._claiming.unbrought(conclusion.strangers, claiming=claiming):
            self._outbox.put([Outcome(jid=held.jid, token=held.token, move=Move.RELEASE, reason="claim not received")])
            self._wake.set()
        for jid in conclusion.cancelled:
            self._performer.stop(jid, "cancelled")
        self._log.flush()
        if why := self._wear.out(jobs=self._settled_jobs, age=monotonic() - self._started):
            self._pulse.worn_out(why)

    def _due(self, said: Beat | Promoted | Claims) -> None:
        """Be awake when the next delayed job is due, as the store says."""
        if said.next_due or self._due_alarm.at < math.inf:
            behind = BEHIND if monotonic() < self._gives_way_until else 0.0
            self._due_alarm.ring_in(max(said.next_due - said.now, 0) / 1_000 + behind if said.next_due else math.inf)

    def _taken(self, claim: Claim, claims: Claims) -> None:
        """A claim has its answer: what follows from it for the next one."""
        self._claiming.answered(claim, claims)
        self._due(claims)
        self._hungry = self._hungry or claims.more or len(claims.jobs) >= claim.limit
        if claims.called:
            self._called()

    def _begin(self, claims: Claims) -> bool:
        """Perform what was claimed. True when that was nothing, and nothing may follow."""
        if monotonic() >= self._performer.alive_until:
            self._beat_alarm.ring()
        self._performer.begin(claims.jobs)
        if self._hungry:
            self._wake.set()
        self._performer.refill(soon=self._hungry)  # the next question goes out before the loop is busy with these
        return not (claims.jobs or claims.more)

    def _places(self, coming: int = 0) -> int:
        if self.orders.quiet or self._outbox.overflows:
            return 0
        return min(self._performer.room(coming), BATCH)  # what is claimed in one trip is settled in one

    def _ahead(self) -> Claim | None:
        """The claim behind a wait. None while anything is performed, which might hold up our loop and whatever comes
        with a ring. Nor in a burst, where a turn that finds nothing is the end, nor when we go."""
        places = 0 if self._performer.executing or self.burst or self._stop_level else self._places()
        return self._claiming.ahead(places) if places else None

    async def _came(self, claim: Claim, claims: Claims) -> bool | None:
        """A claim ahead has its answer, which waits for the end of a turn that compares without these jobs. If it was
        made before the last of these, our lease may have ended in between: the next claim asks what is still ours."""
        if self._turning.locked():
            async with self._turning:
                pass  # nothing below waits, so no other turn begins meanwhile
        if not self._claiming.counts(claim):
            return None
        if claims.jobs and claims.now <= self._claiming.compared_at:
            self._unheard(claim)
            return None
        self._taken(claim, claims)
        self._begin(claims)
        return self._hungry

    def _unheard(self, claim: Claim) -> None:
        """What a claim ahead took, if it was made, is brought by the next claim; the beat gives it back if none is."""
        self._claiming.given_up(claim)
        self._beat_alarm.ring()
        self._rung(hungry=True)

    def _rung(self, hungry: bool) -> None:
        self._hungry = hungry or self._hungry
        self._wake.set()

    def _called(self) -> None:
        """Our own bell rang: a job here was cancelled, a schedule was changed, or we are told something."""
        self._schedules.wanted.set()
        self._beat_alarm.ring()

    def _steered(self) -> None:
        """We are quiet now, or no longer; the next beat says so, and the bells that concern us are others."""
        self._hungry = True
        self._listener.anew()
        self._beat_alarm.ring()

    # Waiting

    async def _take_notes(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            if self._performer.listen():
                self._wake.set()

    def _look(self) -> None:
        """The loop turns. What came due while its timers stood still (they do not count a suspension) is done now."""
        self._keeper.alive()
        if monotonic() >= min(self._beat_alarm.at, self._due_alarm.at):
            self._wake.set()

    # The end

    async def _wind_down(self) -> None:
        """Stop claiming → release unstarted → wait → cancel → release uncharged → settle → leave."""
        self._listener.anew()  # with the claim that may lie behind its wait
        self._beat_alarm.ring()  # it says what a ring meant that was on its way
        self._performer.release_unstarted()
        deadline = monotonic() + self._grace
        await self._until_idle(deadline, level=2)
        self._performer.stop_all()
        await self._until_idle(monotonic() + CANCEL_GRACE + 1, level=3)
        await self._performer.close()
        deadline = max(deadline, monotonic() + 5)
        while True:
            try:
                self._beat_alarm.ring()  # it says what the store believes to be here and is not, to be given back
                await self._one_turn(claiming=False)
                if not len(self._outbox):
                    report = self._database.measure(*self._meter.taken(monotonic()))
                    await self._patient.ask(report, self._database.leave(self.id))
                    return
            except (Unavailable, StoreRefused):
                if not len(self._outbox):
                    return  # our lease ends without us, and nothing hangs on it
                if monotonic() > deadline or self._stop_level > 1:
                    log.warning("the store is away; %d outcomes are lost, their jobs run again", len(self._outbox))
                    raise
                await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _let_go(self) -> None:
        """We were cancelled: as if told twice to stop. When we are cancelled again (a loop that ends does that, also
        where we alone had been cancelled before), what runs is not waited for."""
        self._stopping.set()
        for urgency in (2, 3):
            self._stop_level = max(self._stop_level, urgency)
            with suppress(asyncio.CancelledError):
                with suppress(Unavailable, StoreRefused):
                    await self._wind_down()
                return

    async def _until_idle(self, deadline: float, *, level: int) -> None:
        """Turn without claiming until nothing runs, the deadline passes, or the stop gets more urgent."""
        timer = self._loop.call_at(self._loop.time() + max(deadline - monotonic(), 0), self._wake.set)
        while self._performer.executing and monotonic() < deadline and self._stop_level < level:
            await self._wake.wait()
            self._wake.clear()
            with suppress(Unavailable, StoreRefused):  # what runs goes on; the next beat or outcome asks again
                await self._one_turn(claiming=False)
        timer.cancel()

    # What this worker is made of, and says of itself

    def _info(self) -> bytes:
        it, age = self._performer, monotonic() - self._started
        places = {"concurrency": self.concurrency, "threads": self.threads, "lost": it.lost, "full": it.room() < 1}
        return described(self.queues, age=age, **places, **self.orders.said())
