"""Something of a store is lost or altered: the check names it, beating workers mend it, every job is performed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID

import pytest

from procession import Procession
from procession.database import Audit, Policy
from procession.job import State
from procession.moves import Move
from procession.repair import walk
from tests.damage.conftest import LEASE, Store

Damage = Callable[[Store], object]


def gone(name: str) -> Damage:
    return lambda store: store.server.delete(store.key(name)) or pytest.fail(f"there was no {name}")


DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    "the lease of a worker": (lambda it: it.server.zrem(it.key("leases"), "dead"), {"no lease"}),
    "all leases": (gone("leases"), {"no lease"}),
    "lease and description of a worker": (
        lambda it: (it.server.zrem(it.key("leases"), "dead"), it.server.hdel(it.key("workers"), "dead")),
        {"no lease"},
    ),
    "what a worker holds": (gone("held:dead"), {"not held"}),
    "one job of what a worker holds": (
        lambda it: it.holds("dead", [it.running[1], it.running[2]], it.token), {"not held"},
    ),
    "a job in two hands": (
        lambda it: it.holds("dead", [it.queued[0]], b"x" * 16), {"held without a run", "counter"},
    ),
    "the number of jobs in a hand": (
        lambda it: it.holds("dead", it.running, it.token, number=2), {"held without a run", "counter"},
    ),
    "a claim cut short": (
        lambda it: it.server.hset(it.key("held:dead"), it.token, b"x"), {"held without a run", "not held"},
    ),
    "a claim of nobody cut short": (
        lambda it: it.server.hset(it.key("held:dead"), b"t" * 16, b"x"), {"held without a run"},
    ),
    "the descriptions of workers": (gone("workers"), set()),
    "the tokens": (gone("tokens"), set()),
    "a token cut short": (lambda it: it.server.hset(it.key("tokens"), "dead", "y"), set()),
    "the names of workers": (gone("names"), {"no lease", "not held", "held without a run"}),
    "a token of nobody": (lambda it: it.server.hset(it.key("tokens"), "x", "y"), {"token without worker"}),
    "the index of due times": (gone("due"), {"not due"}),
    "one due time, altered": (
        lambda it: it.server.zadd(it.key("due"), {it.server.zrange(it.key("due"), 0, 0)[0]: 9e15}), {"not due"},
    ),
    "the list of processed jobs": (gone("processed"), {"not kept", "counter"}),
    "one entry of the list of failed jobs": (lambda it: it.server.lpop(it.key("failed")), {"not kept", "counter"}),
    "a queued job in the list of failed ones": (
        lambda it: it.server.lpush(it.key("failed"), it.queued[0].bytes + b"xy"), set(),
    ),
    "a stranger in the index of due times": (
        lambda it: it.server.zadd(it.key("due"), {b"s" * 16: 1}), {"index without job"},
    ),
    "a priority that is no number": (lambda it: it.server.zadd(it.key("lanes:mail"), {"high": 0}), set()),
    "a queue whose name is no text": (lambda it: it.server.hset(it.key("depth"), b"\xff", 3), {"depth"}),
    "a counter that nobody knows": (lambda it: it.server.hset(it.key("counters"), b"\xff", 3), set()),
    "a lane": (gone("lane:mail:0"), {"not in its lane", "depth"}),
    "a lane with others in its queue": (gone("lane:mail:5"), {"not in its lane", "depth"}),
    "the names of lanes": (gone("lanes:mail"), {"lane not named"}),
    "one name of a lane": (lambda it: it.server.zrem(it.key("lanes:mail"), "0"), {"lane not named"}),
    "every lane of a queue and their names": (
        lambda it: it.server.delete(*(it.key(name) for name in ("lane:mail:0", "lane:mail:5", "lanes:mail"))),
        {"not in its lane", "depth"},
    ),
    "one entry of a lane": (lambda it: it.server.rpop(it.key("lane:mail:0")), {"not in its lane", "depth"}),
    "all depths": (gone("depth"), {"depth"}),
    "a depth too high": (lambda it: it.server.hincrby(it.key("depth"), "mail", 3), {"depth"}),
    "a depth below zero": (lambda it: it.server.hset(it.key("depth"), "mail", -2), {"depth"}),
    "the counters": (gone("counters"), {"counter"}),
    "a counter": (lambda it: it.server.hincrby(it.key("counters"), "running", 2), {"counter"}),
    "the meta data": (gone("meta"), set()),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_named_and_beating_workers_perform_every_job(store: Store, what: str) -> None:
    damage, kinds = DAMAGES[what]
    damage(store)
    assert kinds <= store.kinds()
    assert store.ask(store.database.counts()).repaired == 0, "looking changes nothing"
    store.drain()
    found = store.ask(store.database.find(store.made))
    assert [job.state for job in found if job is not None].count(State.PROCESSED) == 3 + 18
    assert None not in found
    store.beat()
    store.beat()
    store.now += 15 * 24 * 3_600_000
    store.ask(store.database.prune(1_000))
    assert store.ask(store.database.find(store.made)) == [None] * len(store.made)
    assert store.kinds() == set()


@pytest.mark.parametrize("store", ["redis"], indirect=True)
@pytest.mark.parametrize("what", DAMAGES)
def test_repair_mends_at_once_what_it_names(store: Store, what: str) -> None:
    damage, kinds = DAMAGES[what]
    damage(store)
    report = store.walk(mend=True)
    assert kinds <= {finding.kind for finding in report.findings}
    assert all(finding.mended for finding in report.findings)
    assert store.kinds() == set()
    assert len(store.drain()) == 12 + 3 + 3
    assert store.kinds() == set()


def test_a_healthy_store_is_left_alone_while_jobs_move(store: Store) -> None:
    store.drain()
    store.beat()
    assert store.ask(store.database.counts()).repaired == 0
    assert store.kinds() == set()


def test_a_lost_lease_is_mended_once_and_the_jobs_come_back_after_one_lease(store: Store) -> None:
    store.server.zrem(store.key("leases"), "dead")
    begun = store.now
    mended = [store.beat().repaired for _ in range(2)]
    assert mended == [1, 0]
    while not store.beat().recovered:
        assert store.now - begun < 2 * LEASE
    assert LEASE <= store.now - begun <= LEASE + 2 * 3_800


def test_a_worker_whose_lease_was_lost_keeps_its_jobs_while_it_beats(store: Store) -> None:
    store.server.zrem(store.key("leases"), "dead")
    for _ in range(8):
        assert store.beat("alive").recovered == 0
        assert len(store.beat("dead").held) == 3


def test_the_dossier_of_a_death_that_nobody_saw_says_what_was_known(store: Store) -> None:
    while not store.beat().recovered:
        pass
    crash = store.ask(store.database.find(store.running))[0].failures[-1].crash
    assert (crash.how, crash.host, crash.pid, crash.memory, crash.beside) == ("lease ended", "h", 7, 5_000_000_000, 2)


@pytest.mark.parametrize("info", [b"not json", b'{"host":7,"pid":"x","memory":1.5}', b'["a"]', b'{"host":"\xff"}'])
def test_a_description_that_makes_no_sense_stops_neither_recovery_nor_readers(store: Store, info: bytes) -> None:
    store.ask(store.database.heartbeat("dead", lease=LEASE, info=info))
    assert {it.id for it in store.ask(store.database.workers())} == {"dead"}
    while not store.beat().recovered:
        pass
    assert len(store.drain()) == 18
    assert store.ask(store.database.find(store.running))[0].failures[-1].crash.how == "lease ended"


def test_a_job_whose_record_and_spec_are_gone_is_dropped_where_it_is_met_and_the_others_run(store: Store) -> None:
    vanished = [store.queued[0], store.running[0], store.made[-12]]
    store.server.hdel(store.key("jobs"), *(jid.bytes for jid in vanished))
    store.made = [jid for jid in store.made if jid not in vanished]
    performed = store.drain()
    assert not set(performed) & set(vanished)
    assert [job.state for job in store.ask(store.database.find(store.made))].count(State.PROCESSED) >= 15
    for _ in range(3):
        store.beat()
    assert store.kinds() == set()
    assert store.ask(store.database.queues())[0].queued == 0


def test_a_long_spec_whose_record_is_gone_becomes_a_failed_job_that_a_person_can_retry(store: Store) -> None:
    jid = store.enqueue(1, spec=b'["f",{"text":"%s"}]' % (b"x" * 2_000))[0]
    store.server.hdel(store.key("jobs"), jid.bytes)
    assert "record lost" in store.kinds()
    store.walk(mend=True)
    job = store.ask(store.database.find([jid]))[0]
    assert (job.state, job.reason, job.name) == (State.FAILED, "record lost", "f")
    store.ask(store.database.retry([jid]))
    assert jid in store.drain()
    assert store.kinds() == set()


def test_a_missing_long_spec_is_named_and_only_that_job_is_undecodable(store: Store) -> None:
    jid = store.enqueue(1, spec=b'["f",{"text":"%s"}]' % (b"x" * 2_000))[0]
    store.server.hdel(store.key("specs"), jid.bytes)
    assert store.kinds() == {"no spec"}
    assert store.kinds(mend=True) == {"no spec"}
    assert len(store.drain()) == 19


@pytest.mark.parametrize("length", [0, 17, 22])
@pytest.mark.parametrize("which", ["queued", "running", "delayed", "processed", "retried"])
def test_a_record_cut_short_stops_no_other_job_and_is_failed_with_its_bytes(
    store: Store, which: str, length: int
) -> None:
    jid = {"queued": store.queued[2], "running": store.running[1], "delayed": store.made[12]}.get(which, store.made[0])
    if which == "retried":
        store.ask(store.database.retry([jid]))
    cut = store.server.hget(store.key("jobs"), jid.bytes)[:length]
    store.server.hset(store.key("jobs"), jid.bytes, cut)
    if length < 18:
        assert "record unreadable" in store.kinds()
    store.claim("early", 100)
    store.ask(store.database.leave("early"))
    store.drain()
    job = store.ask(store.database.find([jid]))[0]
    if length < 18:
        assert (job.state, job.reason, job.raw) == (State.FAILED, "record unreadable", cut)
    others = [it.state for it in store.ask(store.database.find(store.made)) if it is not None and it.jid != jid]
    assert others.count(State.PROCESSED) >= 3 + 18 - 1
    for _ in range(3):
        store.beat()
    if which == "processed":  # beside others of its kind it gets no closer look
        assert store.kinds(mend=True) <= {"counter", "record unreadable"}
    assert store.kinds() == set()


def test_foreign_keys_wrong_types_and_missing_expiries_are_named_and_foreign_keys_left_alone(store: Store) -> None:
    store.server.set(store.key("mine"), "x")
    store.server.rpush(store.key("bell:@w"), "1")
    store.server.persist(store.key("bell:@w"))
    store.holds("nobody", [store.queued[0]], b"x" * 16)
    assert store.kinds() == {"key without owner", "no expiry"}
    store.walk(mend=True)
    assert [(it.kind, it.where) for it in store.walk().findings] == [("key without owner", "mine")]
    assert store.server.get(store.key("mine")) == b"x"
    store.server.delete(store.key("mine"))
    store.server.set(store.key("watch:" + "j" * 16), "x", ex=60)
    assert [it.kind for it in store.walk().findings] == ["wrong type"]


def pages(store: Store) -> Iterator[Audit]:
    """The pages of one walk, so that something may happen between two of them."""
    steps = walk(store.database, mend=True, lease=LEASE)
    question = next(steps)
    with suppress(StopIteration):
        while True:
            yield (page := store.ask(question))
            question = steps.send(page)


def test_jobs_that_move_during_a_walk_are_not_accused(store: Store) -> None:
    store.enqueue(300)
    store.beat()
    moved = 0
    for page in pages(store):
        assert page.findings == []
        store.enqueue(5)
        jobs = store.claim("alive", 10)
        store.settle("alive", jobs[:5], Move.PROCESS)
        store.settle("alive", jobs[5:], Move.RELEASE)
        moved += len(jobs)
    assert moved > 50


def test_a_lane_lost_from_a_large_store_comes_back_over_several_steps(store: Store) -> None:
    for _ in range(3):
        store.enqueue(500, queue="bulk")
    store.server.delete(store.key("lane:bulk:0"))
    new = store.enqueue(100, queue="bulk")
    performed: list[UUID] = []
    for _ in range(40):
        store.beat()
        jobs = store.claim("alive", 200, ("bulk",))
        store.settle("alive", jobs, Move.PROCESS)
        performed += [job.jid for job in jobs]
    assert len(performed) == len(set(performed)) == 1_600
    assert performed[:100] == new, "what still had entries is not held up"
    assert len(store.drain()) == 18
    assert store.kinds() == set()


def test_a_queue_too_long_to_be_looked_through_unasked_is_named_by_the_doctor_and_mended_by_repair(
    store: Store, valkey_url: str
) -> None:
    for _ in range(21):
        store.enqueue(500, queue="bulk")
    store.server.lpop(store.key("lane:bulk:0"))
    for _ in range(30):
        assert store.beat().repaired == 0
    app = Procession(valkey_url, namespace=store.database.namespace)
    assert [it.grade for it in app.doctor() if it.name == "audit"] == ["warning"]
    found = {finding.kind for finding in app.repair(apply=True).findings}
    assert found == {"depth", "not in its lane"}
    assert [it.grade for it in app.doctor() if it.name == "audit"] == ["ok"]
    assert app.repair().clean
    app.close()


def test_a_jid_that_was_removed_and_comes_again_is_counted_once_wherever_it_is_filed(store: Store) -> None:
    def again() -> None:
        store.ask(store.database.remove([jid]))
        store.enqueue(1, jid=jid, queue="again")

    jid = store.enqueue(1, queue="again")[0]
    again()
    assert (store.server.llen(store.key("lane:again:0")), store.kinds()) == (2, set())
    kept = store.ask(store.database.counts()).kept_processed
    for _ in range(2):
        store.settle("dead", store.claim("dead", 2, ("again",)), Move.PROCESS)
        again()
    store.settle("dead", store.claim("dead", 2, ("again",)), Move.PROCESS)
    assert (store.server.llen(store.key("processed")), store.kinds()) == (kept + 3, set())
    assert store.ask(store.database.counts()).kept_processed == kept + 1
    store.now += 2 * Policy().processed_age
    store.ask(store.database.prune(100))
    assert store.ask(store.database.counts()).kept_processed == 0
