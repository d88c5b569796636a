"""A store that is killed, loses power, forgets, fills up, or whose clock jumps."""

from __future__ import annotations

import time
from collections.abc import Collection
from uuid import UUID

from procession import State
from procession.database import Durability
from tests.chaos.fleet import Family
from tests.chaos.history import stored
from tests.chaos.machine import APPENDED, Machine
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import scenario
from tests.chaos.stage import Stage
from tests.chaos.verdict import Marks

RESUMED = Marks(recovery=5.0)
"""A worker's longest pause between two tries is 3 s; a server that has just started is slow to answer the first."""
SHORT_LEASE = {"lease": "3s", "heartbeat": "1s"}
ALWAYS = tuple("always" if option == "everysec" else option for option in APPENDED)
FORGETFUL = ("--appendonly", "no")


def _killed_under_load(stage: Stage) -> None:
    stage.workers(2)
    producer = stage.producing(1_500, stage.shop.note, 0.05, rate=80)
    for _ in range(5):
        time.sleep(stage.random.uniform(0.5, 1.5))
        stage.restart_server(down=2.0)
        stage.goes_on()
    producer.finish()


@scenario("the server is killed five times, its file synced each second", marks=RESUMED, short=True)
def server_killed(stage: Stage) -> None:
    _killed_under_load(stage)


@scenario("the server is killed five times, its file synced at each write", marks=RESUMED, server=ALWAYS)
def server_killed_synced(stage: Stage) -> None:
    _killed_under_load(stage)


@scenario("the server is away for 5 s while 20 jobs of 10 s run")
def outage_within_the_lease(stage: Stage) -> None:
    families = stage.workers(2)
    stage.enqueue(20, stage.shop.note, 10.0)
    stage.until(lambda: stage.running(20))
    stage.restart_server(down=5.0, idle=True)
    stage.processed(20)
    _one_line_each(stage, families)


@scenario("the server is away for three leases, one of its workers longer", settings=SHORT_LEASE, short=True)
def outage_beyond_the_lease(stage: Stage) -> None:
    families = [*stage.workers(1, distant=False), *stage.workers(1, distant=True)]
    stage.enqueue(20, stage.shop.note, 12.0)
    stage.until(lambda: stage.running(20))
    stage.proxy.swallow(True)
    stage.restart_server(down=9.0, idle=True)
    time.sleep(1.0)
    stage.proxy.swallow(False)
    stage.proxy.reset()
    stage.processed(20)
    _one_line_each(stage, families)


def _one_line_each(stage: Stage, families: list[Family]) -> None:
    for family in families:
        lost, back = family.lines("running jobs go on"), family.lines("the store is back")
        if (len(lost), len(back)) != (1, 1):
            told = f"{len(lost)} lines of loss, {len(back)} of return"
            stage.complaints.append(f"{family.log.name} tells one outage in {told}")


@scenario("the power is cut: the last second of the server's file is gone", marks=RESUMED)
def power_cut(stage: Stage) -> None:
    stage.server.watch_growth()
    stage.workers(2)
    producer = stage.producing(800, stage.shop.note, 0.1, rate=100)
    time.sleep(4.0)
    _cut_power(stage)
    producer.finish()


@scenario("the power is cut, some jobs enqueued with durability fsync", marks=RESUMED)
def power_cut_synced(stage: Stage) -> None:
    stage.server.watch_growth()
    stage.workers(2)
    fleeting = stage.producing(600, stage.shop.note, 0.1, rate=80)
    lasting = [stage.producing(20, stage.shop.note.using(durability="fsync"), 0.1, rate=2) for _ in range(3)]
    time.sleep(stage.random.uniform(4.0, 5.0))
    _cut_power(stage, lasting={order.jid for producer in lasting for order in producer.orders})
    for producer in (fleeting, *lasting):
        producer.finish()


def _cut_power(stage: Stage, lasting: Collection[UUID] = ()) -> None:
    """What was written in the last second is gone, back to where the disk was last told to keep what it has."""
    died = time.monotonic()
    stage.server.kill()
    stage.event("power cut")
    time.sleep(0.1)  # answers that were on their way are in the ledger
    entries = stage.ledger.entries()
    kept = max((entries[jid].acknowledged for jid in lasting if jid in entries), default=0.0)
    moment = stage.server.cut(since=max(died - 1.0, kept))
    _state_what_is_gone(stage, moment, lasting)
    time.sleep(1.0)
    stage.server.start()
    stage.event("server back", heals=True)


def _state_what_is_gone(stage: Stage, moment: float, lasting: Collection[UUID] = ()) -> None:
    """What was acknowledged after `moment` may be gone, unless it was enqueued to last; what was done is done again."""
    fleeting = [entry for jid, entry in stage.ledger.entries().items() if jid not in lasting]
    stage.excused |= {entry.jid for entry in fleeting if entry.acknowledged > moment - 0.05}
    stage.forced(sum(not run.ended or run.ended > moment - 0.1 for run in stage.runs.read()))


@scenario("a server that keeps nothing is killed", marks=RESUMED, server=FORGETFUL, forgetful=True)
def forgetful_server(stage: Stage) -> None:
    stage.workers(2)
    producer = stage.producing(600, stage.shop.note, 0.3, rate=100)
    time.sleep(3.0)
    _state_what_is_gone(stage, 0.0)
    stage.restart_server(down=1.0)
    entries = stage.ledger.entries().values()
    stage.excused |= {entry.jid for entry in entries if entry.acknowledged < stage.events[-1].at}
    producer.finish()


@scenario("scripts are flushed every 50 ms, clients cut, the server sleeps", short=True)
def storms(stage: Stage) -> None:
    stage.workers(2)
    stage.enqueue(4_000, stage.shop.note, 0.005)
    producer = stage.producing(400, stage.shop.note, 0.005, rate=80)
    with stage.server.client() as client:
        beat = 0
        while producer.is_alive() or not stage.nothing_left():
            client.script_flush()
            if beat % 8 == 0:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            if beat % 30 == 7:
                client.execute_command("DEBUG", "SLEEP", "0.4")
            time.sleep(0.05)
            beat += 1


@scenario("the server takes no more clients for a while", marks=Marks(recovery=6.0))
def no_more_clients(stage: Stage) -> None:
    stage.workers(2)
    producer = stage.producing(500, stage.shop.note, 0.01, rate=80)
    with stage.server.client() as client:
        time.sleep(1.0)
        client.config_set("maxclients", 1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(3.0)
        client.config_set("maxclients", 10_000)
        stage.event("clients are taken again", heals=True)
    producer.finish()


@scenario("the memory is full: enqueues are refused, the rest drains", server=(*APPENDED, "--maxmemory", "8mb"))
def memory_full(stage: Stage) -> None:
    fat = stage.producing(600, stage.shop.fat, "x" * 20_000, rate=1_000, patience=0.0)
    fat.finish()
    answers = [entry.answer for entry in stage.ledger.entries().values()]
    if "no" not in answers or answers.count("no") == len(answers):
        stage.complaints.append("the store did not fill up, so nothing was shown")
    stage.workers(2)
    stage.until(stage.nothing_left)
    for jid in [job.jid for job in stage.app.jobs(State.PROCESSED, limit=1_000).jobs][:100]:
        stage.ledger.removed(jid)
        stage.app.remove(jid)
    stage.producing(50, stage.shop.note, rate=100, patience=30.0).finish()


@scenario("the disk is full: writes are refused, and go on when there is room", marks=RESUMED)
def disk_full(stage: Stage) -> None:
    stage.server.kill()
    stage.server.start(file_limit=1_000_000)
    stage.workers(2)
    producer = stage.producing(500, stage.shop.fat, "x" * 5_000, rate=120, patience=60.0)
    stage.until(lambda: any(entry.answer == "no" for entry in stage.ledger.entries().values()), 30)
    time.sleep(2.0)
    stage.server.room_on_disk()
    stage.event("room on the disk", heals=True)
    producer.finish()


@scenario("100 of 1,000 stored jobs are unreadable")
def unreadable_jobs(stage: Stage) -> None:
    stage.enqueue(900)
    bad = stage.enqueue(100, expected=State.FAILED)
    with stage.server.client() as client:
        for n, order in enumerate(bad):
            rubbish = (b"", b"[", b"[7,{}]", bytes(range(256)), b'["note",[1]]')[n % 5]
            record = client.hget("{chaos:0}:jobs", order.jid.bytes)
            client.hset("{chaos:0}:jobs", order.jid.bytes, record[: record.rindex(b'["')] + rubbish)
    stage.workers(2)


@scenario("the server's clock jumps by two leases, forwards and back", settings=SHORT_LEASE, faketime=True)
def server_clock_jumps(stage: Stage) -> None:
    stage.workers(2)
    producer = stage.producing(800, stage.shop.note, 1.0, rate=40)
    for offset in ("+6", "+0", "-6", "+0"):
        time.sleep(4.0)
        stage.event(f"clock {offset}")
        stage.server.set_clock(offset)
    producer.finish()


def _fail_over(stage: Stage, *, cut: bool, durability: Durability = "memory") -> None:
    """Another machine takes over the address; it may not have the last second."""
    stage.workers(2, distant=True)
    link = Proxy(stage.server.path)
    replica = stage.another_machine()
    with replica.client() as client:
        client.replicaof("127.0.0.1", int(link.url.rpartition(":")[2]))
        stage.until(lambda: client.info("replication").get("master_link_status") == "up", 20)
    patience = 60.0 if durability == "memory" else 3.0  # the heir has no replica: what it refuses stays refused
    note = stage.distant.note.using(durability=durability)
    producer = stage.producing(600, note, 0.1, rate=80, patience=patience)
    time.sleep(3.0)
    moment = _replicated(stage, replica)
    if cut:
        link.swallow(True)
        time.sleep(1.0)
    stage.server.kill()
    if durability == "replica":
        producer.stop()
    stage.event("primary killed")
    link.close()
    stage.promote(replica)
    _state_what_the_heir_lacks(stage, moment, lasting=durability == "replica")
    stage.lead_to(replica)
    stage.event("another is primary", heals=True)
    producer.finish()


def _replicated(stage: Stage, replica: Machine) -> float:
    """A moment before which the replica has everything: it has what the primary had written a little later."""
    moment = time.monotonic()
    with stage.server.client() as there, replica.client() as here:
        offset = there.info("replication")["master_repl_offset"]
        stage.until(lambda: here.info("replication")["slave_repl_offset"] >= offset, 10)
    return moment


def _state_what_the_heir_lacks(stage: Stage, moment: float, *, lasting: bool) -> None:
    """Replication is asynchronous, so a failover may take what the dead primary's own file holds and the heir does not:
    that, acknowledged after `moment`, and nothing else. What is in neither was never stored, and counts as lost.
    What was done and is not said so at the heir is done again."""
    with stage.server.client() as client:
        kept = {UUID(bytes=jid) for jid in client.hkeys("{chaos:0}:jobs")}
    gone = stored(stage.predecessor.folder, "{chaos:0}") - kept
    if not lasting:
        stage.excused |= gone
    early = [jid for jid in gone if 0 < stage.ledger.entries()[jid].acknowledged < moment]
    if early:
        stage.complaints.append(f"the replica lacks {len(early)} jobs that it had confirmed")
    begun = [*stage.runs.by_job()]
    found = stage.app.ask(stage.app.database.find(begun))
    stage.forced(sum(job is None or not job.state.final for job in found))


@scenario("the primary dies and its replica takes over", marks=RESUMED)
def failover(stage: Stage) -> None:
    _fail_over(stage, cut=False)


@scenario("the primary dies with its last second not replicated", marks=RESUMED)
def failover_cut_off(stage: Stage) -> None:
    _fail_over(stage, cut=True)


@scenario("the same, the jobs enqueued with durability replica", marks=RESUMED)
def failover_cut_off_replicated(stage: Stage) -> None:
    _fail_over(stage, cut=True, durability="replica")

