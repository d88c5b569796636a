"""The life of one job as a small machine: a store, a producer, two queue workers, a network, and every fault they meet.

It says what the scripts and the queue worker do, in a few lines each, so that `exhaustive.py` can try every order of
every step. A `Design` is a set of guards; each one that is False is an error planted on purpose. What no store could
know (which claim is the newest, whose outcome took effect) is kept beside it, in fields that say so.

What is one script in the library is one step here. Time has no length: a lease ends when its worker is dead or paused,
and the grace after an outage ends when every worker that lives has said so. One thing is taken for granted: no question
is on its way for longer than a lease. Nothing here imports the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_CRASHES = 2
FINAL = ("processed", "failed")
NOBODY = -1


class Design(NamedTuple):
    """What is built in. All True is the library as it is."""

    claim_is_one_script: bool = True
    claim_is_no_pop: bool = True
    """A pop hands the job out in its reply, which is then the only trace of it."""
    settle_is_one_script: bool = True
    settle_is_fenced: bool = True
    repeat_is_fenced: bool = True
    heartbeat_revives_nothing: bool = True
    recovery_is_one_script: bool = True
    attempt_counts_at_claim: bool = True
    crash_counts_at_recovery: bool = True
    jid_is_unique: bool = True
    token_is_random: bool = True
    waits_for_replica: bool = True
    waits_a_grace: bool = True
    drops_lost_runs: bool = True
    repeats_claims: bool = True
    gives_strangers_back: bool = True
    spares_the_claim_under_way: bool = True
    """What it holds under the token that it is just asking with comes with the answer: it is no stranger."""
    late_claims_take_nothing: bool = True
    """A claim names the one before it: out of turn it takes nothing."""
    attempts: int = 2

    @property
    def most_runs(self) -> int:
        """The runs that fail and those that crash; the last of them ends the job."""
        return self.attempts + MAX_CRASHES - 1


class Store(NamedTuple):
    """What one shard holds of the job. A replica holds an earlier one whole."""

    state: str = "none"
    lane: int = 0
    """How often its queue names it."""
    copies: int = 0
    owner: int = NOBODY
    token: int = 0
    attempt: int = 0
    crashes: int = 0
    held: tuple[bool, bool] = (False, False)
    leases: tuple[str, str] = ("none", "none")
    tokens: tuple[int, int] = (0, 0)
    grace: bool = False
    handed: int = 0
    """Claims so far: what a design without random tokens makes its tokens of."""
    newest: int = 0
    """Beside the store: the newest claim it made."""
    settled: frozenset[int] = frozenset()
    """Beside the store: the claims whose outcome took effect."""


class Worker(NamedTuple):
    """A queue worker with one place: what it is at, and under which token and claim."""

    life: str = "up"
    doing: str = "idle"
    token: int = 0
    claim: int = 0
    heard: int = 0
    """The token of its last claim that was answered."""
    last: bool = False
    """No attempt is left after this one."""
    outcome: str = ""
    stranger: int = 0
    """The token of a job that it holds in the store and knows nothing of: to be given back."""


class Message(NamedTuple):
    """A question whose asker has given up, still on its way."""

    verb: str
    worker: int = NOBODY
    token: int = 0
    claim: int = 0
    after: int = 0
    outcome: str = ""


class World(NamedTuple):
    """Everything at one moment."""

    store: Store = Store()
    replica: Store | None = None
    """What the replica will know once the link to it is cut; until then it knows all."""
    producer: str = "new"
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    late: tuple[Message, ...] = ()
    recovering: int = NOBODY
    """A recovery in two steps has read that this worker's lease ended."""
    faults: int = 0
    failovers: int = 0
    excuses: int = 0
    """Faults that may make a job run once more: a crash, a pause, a failover."""
    runs: int = 0
    failures: int = 0
    claims: int = 0
    broken: str = ""
    """The promise that the last step broke."""

    def faulty(self, **changes: Any) -> World:
        """This world after one more fault."""
        return self._replace(faults=self.faults + 1, **changes)

    def with_worker(self, at: int, **changes: Any) -> World:
        """This world with one worker changed."""
        return self._replace(workers=put(self.workers, at, self.workers[at]._replace(**changes)))


class Step(NamedTuple):
    """One thing that may happen next."""

    name: str
    world: Any
    """What the world is then: a `World`, or that of another design."""
    fault: bool = False


def put(items: tuple[Any, ...], at: int, value: Any) -> Any:
    """The tuple with one place changed."""
    return (*items[:at], value, *items[at + 1 :])


# The scripts of the store


def enqueue(design: Design, store: Store) -> Store:
    if store.state == "none":
        return store._replace(state="queued", lane=1, copies=1)
    if design.jid_is_unique:
        return store
    return store._replace(copies=store.copies + 1, lane=store.lane + 1)


def claim(design: Design, store: Store, question: Message, number: int) -> tuple[Store, int]:
    """The store after a claim, and the token under which the worker now holds the job (0: it got none)."""
    worker, token = question.worker, question.token
    mine = token if store.state == "running" and store.owner == worker and store.token == token else 0
    if design.repeats_claims and (mine or store.tokens[worker] == token):
        return store, mine
    in_turn = store.tokens[worker] in (0, question.after) or not design.late_claims_take_nothing
    if not design.token_is_random:
        token = store.handed + 1
    store = store._replace(leases=put(store.leases, worker, "live"), tokens=put(store.tokens, worker, token))
    if store.state != "queued" or not in_turn:
        return store, 0
    return store._replace(
        state="running",
        lane=store.lane - 1,
        owner=worker,
        token=token,
        attempt=store.attempt + design.attempt_counts_at_claim,
        held=put(store.held, worker, True),
        handed=store.handed + 1,
        newest=number,
    ), token


def settle(design: Design, store: Store, worker: int, question: Message) -> tuple[Store, bool, str]:
    """The store after a settle, whether it was accepted, and which promise that broke."""
    current = store.token == question.token
    if store.state == "running" and (current or not design.settle_is_fenced):
        broken = "" if question.claim == store.newest else "the outcome of an older claim took effect"
        held = put(store.held, worker, False)
        store = store._replace(held=held, settled=store.settled | {question.claim})
        if question.outcome in FINAL:
            return store._replace(state=question.outcome), True, broken
        attempt = store.attempt
        if question.outcome == "given back":
            attempt -= design.attempt_counts_at_claim
        elif not design.attempt_counts_at_claim:
            attempt += 1
        return store._replace(state="queued", lane=1, owner=NOBODY, token=0, attempt=attempt), True, broken
    known = store.state in FINAL and (current or not design.repeat_is_fenced)
    untrue = known and question.claim not in store.settled
    return store, known, "an outcome is called accepted that never took effect" if untrue else ""


def heartbeat(design: Design, store: Store, worker: int, token: int) -> Store:
    """The store after a heartbeat; `token` is that of what the worker runs."""
    store = store._replace(leases=put(store.leases, worker, "live"))
    if design.heartbeat_revives_nothing or not token or store.state not in ("queued", "running"):
        return store
    return store._replace(state="running", lane=0, owner=worker, token=token, held=put((False, False), worker, True))


def recover(design: Design, store: Store, worker: int, *, blindly: bool = False) -> Store:
    """The store after a worker's job was taken back and the worker forgotten."""
    store = store._replace(leases=put(store.leases, worker, "none"), tokens=put(store.tokens, worker, 0))
    if not blindly and not store.held[worker]:
        return store
    store = store._replace(held=put(store.held, worker, False))
    if not blindly and (store.state != "running" or store.owner != worker):
        return store
    crashes = store.crashes + design.crash_counts_at_recovery
    store = store._replace(crashes=crashes, owner=NOBODY, token=0)
    if crashes >= MAX_CRASHES:
        return store._replace(state="failed")
    return store._replace(state="queued", lane=store.lane + 1)


# What may happen next


def steps(design: Design, world: World, *, faults: int, failover: bool) -> Iterator[Step]:
    """All that may happen in this world; no more than `faults` things go wrong."""
    fail = world.faults < faults
    yield from produce(design, world, fail, failover)
    for at in (0, 1):
        if world.workers[at].life == "up":
            yield from ask_for_work(design, world, at, fail)
            yield from perform(design, world, at, fail)
            yield from beat(design, world, at)
        yield from live_and_die(design, world, at, fail)
        yield from take_back(design, world, at)
    for message in sorted({*world.late}):
        yield arrive(design, world, message)
    yield from the_store(design, world, fail, failover)


def produce(design: Design, world: World, fail: bool, failover: bool) -> Iterator[Step]:
    """The producer enqueues, as often as it must and with the same jid, until it hears that the job is stored."""
    if world.producer in ("new", "unknown"):
        store = enqueue(design, world.store)
        answer = "stored" if failover and design.waits_for_replica else "acknowledged"
        yield Step("enqueue", world._replace(store=store, producer=answer))
        if fail:
            yield Step("enqueue, reply lost", world.faulty(store=store, producer="unknown"), True)
            late = (*world.late, Message("enqueue"))
            yield Step("enqueue, on its way for long", world.faulty(producer="unknown", late=late), True)
    if world.producer == "stored" and (world.replica or world.store).state != "none":
        yield Step("the replica confirms", world._replace(producer="acknowledged"))
    if world.producer == "stored" and (world.replica is not None or world.failovers):
        yield Step("the replica does not confirm in time", world._replace(producer="unknown"))


def ask_for_work(design: Design, world: World, at: int, fail: bool) -> Iterator[Step]:
    """An idle worker claims; one that heard no answer asks again, with the same token."""
    me, name, new = world.workers[at], f"worker {at}", world.claims + 1
    late_ones = [message for message in world.late if message.verb == "claim" and message.worker == at]
    if me.doing not in ("idle", "asking"):
        if late_ones and world.store.state != "queued":  # it has more places; only to a late claim does it matter
            tokens = put(world.store.tokens, at, new)
            after = world._replace(store=world.store._replace(tokens=tokens), claims=new)
            yield Step(f"{name} claims for another place, and gets nothing", after.with_worker(at, heard=new))
        return
    again = me.doing == "asking" and design.repeats_claims
    question = Message("claim", at, me.token if again else new, after=me.heard)
    store, got = claim(design, world.store, question, new)
    asked = world._replace(claims=new)
    if not got:
        told = me.doing == "idle" and world.store.tokens[at] == me.heard and store.leases == world.store.leases
        if late_ones or not told:
            empty = asked._replace(store=store).with_worker(at, doing="idle", token=0, claim=0, heard=question.token)
            yield Step(f"{name} claims nothing", empty)
        return
    last = store.attempt + (not design.attempt_counts_at_claim) - store.crashes >= design.attempts
    mine: dict[str, Any] = {"token": got, "claim": store.newest, "last": last, "heard": question.token}
    if not (design.claim_is_one_script and design.claim_is_no_pop):
        popped = asked._replace(store=world.store._replace(lane=world.store.lane - 1, newest=new))
        yield Step(f"{name} pops the job", popped.with_worker(at, doing="popped", **mine))
        if fail and not design.claim_is_no_pop:
            yield Step(f"{name} pops the job, reply lost", popped.faulty(), True)
        return
    asked = asked._replace(store=store)
    yield Step(f"{name} claims", asked._replace(runs=world.runs + 1).with_worker(at, doing="running", **mine))
    if fail and me.doing == "idle":
        waits: dict[str, Any] = {"doing": "asking", "token": question.token}
        yield Step(f"{name} claims, reply lost", asked.faulty().with_worker(at, **waits), True)
        unheard = world.faulty(claims=new, late=(*world.late, question)).with_worker(at, **waits)
        yield Step(f"{name} claims, on its way for long", unheard, True)


def perform(design: Design, world: World, at: int, fail: bool) -> Iterator[Step]:
    """A job comes to its outcome, and the worker settles it until it hears an answer."""
    me, name, store = world.workers[at], f"worker {at}", world.store
    if me.doing == "popped":
        held, leases = put(store.held, at, True), put(store.leases, at, "live")
        store = store._replace(state="running", owner=at, token=me.token, held=held, leases=leases)
        begun = world._replace(store=store._replace(attempt=store.attempt + 1), runs=world.runs + 1)
        yield Step(f"{name} writes that it has the job", begun.with_worker(at, doing="running"))
    if me.doing == "running":
        yield Step(f"{name}: the job returns", world.with_worker(at, doing="settling", outcome="processed"))
        raised = world._replace(failures=world.failures + 1)
        outcome = "failed" if me.last else "retry"
        yield Step(f"{name}: the job raises", raised.with_worker(at, doing="settling", outcome=outcome))
    if me.doing == "settling" and not design.settle_is_one_script and store.token == me.token and me.outcome in FINAL:
        bare = store._replace(held=put(store.held, at, False), owner=NOBODY)
        yield Step(f"{name} lets go of the job", world._replace(store=bare).with_worker(at, doing="half settled"))
    elif me.doing == "settling":
        question = Message("settle", at, me.token, me.claim, outcome=me.outcome)
        yield from report(design, world, question, fail, doing="idle", token=0, claim=0, last=False, outcome="")
    if me.doing == "half settled":
        store = store._replace(state=me.outcome, settled=store.settled | {me.claim})
        yield Step(f"{name} writes the outcome", world._replace(store=store).with_worker(at, **Worker()._asdict()))
    if me.stranger:
        # what it gives back is the claim that the store names; if that is another by now, the fence says no
        number = store.newest if store.token == me.stranger else 0
        question = Message("settle", at, me.stranger, number, outcome="given back")
        yield from report(design, world, question, fail, stranger=0)


def report(design: Design, world: World, question: Message, fail: bool, **after: Any) -> Iterator[Step]:
    """Settle one outcome: answered, answered unheard, or on its way for long."""
    at, name = question.worker, f"worker {question.worker}"
    store, accepted, broken = settle(design, world.store, at, question)
    verb = f"settles {question.outcome}: {'accepted' if accepted else 'refused'}"
    then = world._replace(store=store, broken=broken)
    yield Step(f"{name} {verb}", then.with_worker(at, **after))
    if fail and store != world.store:
        yield Step(f"{name} {verb}, reply lost", then.faulty(), True)
    if fail:
        yield Step(f"{name} settles, on its way for long", world.faulty(late=(*world.late, question)), True)


def beat(design: Design, world: World, at: int) -> Iterator[Step]:
    """The worker says that it lives and compares what it runs with what the store believes; its supervisor extends."""
    me, name = world.workers[at], f"worker {at}"
    runs = me.token if me.doing == "running" else 0
    store = heartbeat(design, world.store, at, runs)
    believed = store.token if store.held[at] and store.owner == at else 0
    after = world._replace(store=store)
    if runs and believed != runs:
        if design.drops_lost_runs:
            after = after.with_worker(at, doing="idle", token=0, claim=0, last=False)
        else:
            after = after._replace(broken="a run that lost its lease goes on after its heartbeat")
    known = me.token if me.doing != "asking" or design.spares_the_claim_under_way else 0
    if believed not in (0, known, me.stranger) and design.gives_strangers_back:
        after = after.with_worker(at, stranger=believed)
    if after != world:
        yield Step(f"{name} beats", after)
    if world.store.leases[at] == "ended":
        leases = put(world.store.leases, at, "live")
        yield Step(f"the supervisor of {name} extends", world._replace(store=world.store._replace(leases=leases)))


def live_and_die(design: Design, world: World, at: int, fail: bool) -> Iterator[Step]:
    """A worker dies, is paused, wakes, is replaced; and what time does to its lease."""
    me, name, store = world.workers[at], f"worker {at}", world.store
    if fail and me.life != "dead":
        dead = world.faulty(excuses=world.excuses + 1)
        yield Step(f"{name} dies", dead._replace(workers=put(world.workers, at, Worker("dead"))), True)
    if fail and me.life == "up":
        paused = world.faulty(excuses=world.excuses + 1)
        yield Step(f"{name} is paused", paused.with_worker(at, life="paused"), True)
    if me.life == "paused":
        yield Step(f"{name} wakes", world.with_worker(at, life="up"))
    if me.life != "up" and store.leases[at] == "live":
        ended = store._replace(leases=put(store.leases, at, "ended"))
        yield Step(f"{name}'s lease ends", world._replace(store=ended))
    if me.life == "dead":
        if store.leases[at] != "none":
            yield Step(f"the supervisor says that {name} died", world._replace(store=recover(design, store, at)))
        elif not any(message.worker == at for message in world.late):
            yield Step(f"{name} is replaced", world._replace(workers=put(world.workers, at, Worker())))


def take_back(design: Design, world: World, at: int) -> Iterator[Step]:
    """Any worker takes back what another holds whose lease ended."""
    on_its_way = any(message.worker == at for message in world.late)
    if world.store.leases[at] == "ended" and not world.store.grace and not on_its_way:
        if design.recovery_is_one_script:
            yield Step(f"recovery takes back from worker {at}", world._replace(store=recover(design, world.store, at)))
        elif world.recovering == NOBODY and world.store.held[at]:
            yield Step(f"recovery reads that worker {at}'s lease ended", world._replace(recovering=at))
    if world.recovering == at:
        store = recover(design, world.store, at, blindly=True)
        yield Step("recovery moves what it read", world._replace(store=store, recovering=NOBODY))


def arrive(design: Design, world: World, message: Message) -> Step:
    """A question runs after its asker gave up; nobody hears the answer."""
    late = [*world.late]
    late.remove(message)
    store, broken = world.store, ""
    if message.verb == "enqueue":
        store = enqueue(design, store)
    elif message.verb == "claim":
        world = world._replace(claims=world.claims + 1)
        store, _ = claim(design, store, message, world.claims)
    else:
        store, _, broken = settle(design, store, message.worker, message)
    return Step(f"a late {message.verb} arrives", world._replace(store=store, late=tuple(late), broken=broken))


def the_store(design: Design, world: World, fail: bool, failover: bool) -> Iterator[Step]:
    """Outage, retention, replication, failover."""
    store = world.store
    if fail and "live" in store.leases:
        leases = tuple("ended" if lease == "live" else lease for lease in store.leases)
        away = store._replace(leases=leases, grace=design.waits_a_grace)
        yield Step("the store is away for longer than a lease", world.faulty(store=away), True)
    beaten = all(me.life != "up" or lease != "ended" for me, lease in zip(world.workers, store.leases, strict=True))
    if store.grace and beaten:
        yield Step("the grace ends", world._replace(store=store._replace(grace=False)))
    if store.state in FINAL and world.producer == "acknowledged" and not world.late and world.replica is None:
        forgotten = Store("forgotten", copies=1, newest=store.newest, settled=store.settled)
        yield Step("its retention is over", world._replace(store=forgotten))
    if failover and fail and not world.failovers and world.replica is None:
        yield Step("the link to the replica is cut", world.faulty(replica=store), True)
    if world.replica is not None and world.replica != store:
        over = world._replace(store=world.replica, replica=None, failovers=1, excuses=world.excuses + 1)
        yield Step("failover: the last writes are lost", over, True)
