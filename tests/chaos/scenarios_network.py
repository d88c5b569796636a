"""A network that falls silent, loses one direction, drops replies, crawls: between the store and who speaks to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tests.chaos.scenario import scenario
from tests.chaos.stage import NAMESPACE, Stage
from tests.chaos.verdict import Marks
from tests.network.cluster import clustered
from tests.network.servers import Server, until
from tests.network.test_sentinel import watched

HEALED = Marks(recovery=7.0)
"""A silent connection is given up after the deadline of a call (2 s) and tried again after 3 s at most."""


def _silence(stage: Stage, seconds: float) -> None:
    stage.workers(2, distant=True)
    producer = stage.producing(400, stage.distant.note, 0.05, rate=50, patience=120.0)
    time.sleep(2.0)
    stage.event("silence")
    stage.proxy.swallow(True)
    time.sleep(seconds)
    stage.proxy.swallow(False)
    stage.event("healed", heals=True)
    producer.finish()
    if producer.longest > 2.3:
        stage.complaints.append(f"an enqueue held its caller for {producer.longest:.1f} s; 2 s is the budget")


@scenario("connections fall silent for 5 s", marks=HEALED, short=True)
def silence_short(stage: Stage) -> None:
    _silence(stage, 5.0)


@scenario("connections fall silent for 20 s, longer than the lease", marks=HEALED)
def silence_beyond_the_lease(stage: Stage) -> None:
    _silence(stage, 20.0)


@scenario("connections fall silent for 60 s", marks=HEALED)
def silence_long(stage: Stage) -> None:
    _silence(stage, 60.0)


def _one_way(stage: Stage, way: str) -> None:
    stage.workers(2, distant=True)
    producer = stage.producing(600, stage.distant.note, 0.05, rate=60, patience=60.0)
    for _ in range(4):
        time.sleep(stage.random.uniform(0.5, 1.5))
        setattr(stage.proxy, f"silent_{way}", True)
        time.sleep(stage.random.uniform(0.5, 4.0))
        setattr(stage.proxy, f"silent_{way}", False)
        stage.event("healed", heals=True)
        stage.goes_on()
    producer.finish()


@scenario("requests get lost, four times for up to 4 s", marks=HEALED)
def requests_lost(stage: Stage) -> None:
    _one_way(stage, "up")


@scenario("requests arrive, replies get lost, four times for up to 4 s", marks=HEALED)
def replies_lost(stage: Stage) -> None:
    _one_way(stage, "down")


@scenario("every 20th reply to a producer is lost with its connection", short=True)
def producer_replies_dropped(stage: Stage) -> None:
    stage.workers(2, distant=False)
    stage.proxy.drop_every = 20
    stage.producing(1_000, stage.distant.note, rate=200, patience=30.0).finish()


@scenario("every 20th reply to a producer that does not ask again is lost")
def producer_gives_up(stage: Stage) -> None:
    stage.workers(2, distant=False)
    stage.proxy.drop_every = 20
    stage.producing(1_000, stage.distant.note, rate=200, patience=0.0).finish()
    if not any(entry.answer == "unknown" for entry in stage.ledger.entries().values()):
        stage.complaints.append("no answer was lost, so nothing was shown")


@scenario("every 5th reply to a worker is lost with its connection")
def worker_replies_dropped(stage: Stage) -> None:
    stage.workers(2, distant=True)
    stage.proxy.drop_every = 5
    stage.enqueue(1_000, stage.shop.note, 0.02)
    stage.producing(300, stage.shop.note, 0.01, rate=60).finish()


@scenario("packets take 50 ± 50 ms more, 100 kB a second, connections are reset every 2 s")
def slow_network(stage: Stage) -> None:
    stage.proxy.delay = stage.proxy.jitter = 0.05
    stage.proxy.rate, stage.proxy.reset_every = 100_000, 2.0
    stage.workers(2, distant=True)
    stage.producing(400, stage.distant.note, 0.05, rate=20, patience=60.0).finish()


def _heir(stage: Stage, primary: Server, found: Callable[[], Server]) -> None:
    """The primary dies under load; what was enqueued with durability replica is not lost with it."""
    producer = stage.producing(600, stage.shop.note.using(durability="replica"), 0.05, rate=60, patience=0.0)
    time.sleep(3.0)
    primary.kill()
    stage.event("primary killed")
    stage.forced(2 * stage.concurrency)  # what was settled there and not replicated
    until(lambda: found() is not primary)
    producer.stop()  # the heir has no replica
    producer = stage.producing(300, stage.shop.note, 0.05, rate=60)
    stage.event("the heir is found", heals=True)
    producer.finish()


@scenario("the primary dies, three sentinels name its heir", marks=HEALED, site=watched)
def sentinel_failover(stage: Stage) -> None:
    stage.workers(2)
    _heir(stage, stage.site.primary(), stage.site.primary)


@scenario("a cluster of six loses the primary of our shard", marks=HEALED, site=clustered)
def cluster_failover(stage: Stage) -> None:
    stage.workers(2)
    owner = partial(stage.site.owner, f"{{{NAMESPACE}:0}}")
    _heir(stage, owner(), owner)


@scenario("our shard moves to another node of the cluster and back, five times", site=clustered)
def shard_moves(stage: Stage) -> None:
    stage.workers(2)
    producer = stage.producing(600, stage.shop.note, 0.05, rate=60)
    tag = f"{{{NAMESPACE}:0}}"
    here, slot = stage.site.owner(tag), stage.site.slot(tag)
    there = stage.site.other_primary(here)
    for source, target in ((here, there), (there, here)) * 5:
        time.sleep(0.7)
        stage.site.move_at_once(slot, source, target)
    producer.finish()


@scenario(
    "our shard moves to another node key by key, for longer than the lease, and back",
    site=clustered, settings={"lease": "3s", "heartbeat": "1s"},
)  # fmt: skip
def shard_moves_key_by_key(stage: Stage) -> None:
    # Half of a shard is worse than none: what is asked meanwhile is turned away, waits, and is asked again.
    stage.workers(2)
    producer = stage.producing(400, stage.shop.note, 0.5, rate=40)
    tag = f"{{{NAMESPACE}:0}}"
    here, slot = stage.site.owner(tag), stage.site.slot(tag)
    there = stage.site.other_primary(here)
    for source, target in ((here, there), (there, here)):
        time.sleep(2.0)
        began = time.monotonic()
        stage.site.begin_move(slot, source, target)
        while stage.site.move_keys(slot, source, target, 2):
            time.sleep(0.5)
        stage.site.end_move(slot, source, target)
        if time.monotonic() - began < stage.lease:
            stage.complaints.append("the move was shorter than the lease")
    producer.finish()
