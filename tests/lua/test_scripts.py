"""Each script alone: given these keys, called so, it leaves those keys."""

from __future__ import annotations

import time
from itertools import islice
from uuid import UUID

import pytest

from procession.database import Query
from procession.database.redis import scripts
from procession.job import Crash, Outcome, State
from procession.moves import MOVES, Move
from tests.lua.conftest import NOW, A, B, C, D, E, Keyspace, new

TOKEN = b"t" * 16


def out(jid: bytes, move: Move, token: bytes = TOKEN, **fields: object) -> Outcome:
    return Outcome(jid=UUID(bytes=jid), token=token, move=move, **fields)


@pytest.mark.parametrize("name", scripts.names())
def test_every_header_speaks_only_of_moves_in_the_table(name: str) -> None:
    script = scripts.script(name)
    assert set(script.moves) <= {move.value for move in MOVES}
    assert script.args[0] == "now:int"
    assert script.purpose.endswith(".")


def test_every_move_that_can_be_reached_is_made_by_some_script() -> None:
    made = {move for name in scripts.names() for move in scripts.script(name).moves}
    assert made == {move.value for move in MOVES}


def test_enqueue_writes_spec_record_lane_depth_and_rings_once(keys: Keyspace) -> None:
    keys.connection.ask(keys.database.enqueue([new(A), new(B), new(C, priority=5)]))
    assert keys.lane() == [A, B]
    assert keys.lane(priority=5) == [C]
    assert keys.server.zrange(keys.key("lanes:mail"), 0, -1) == [b"5", b"0"]
    assert keys.server.hgetall(keys.key("depth")) == {b"mail": b"3"}
    assert keys.members("jobs") == {A, B, C}
    assert keys.counters() == {"enqueued": 3, "queued": 3}
    assert keys.rings("mail") == 1


def test_enqueue_of_a_known_jid_changes_nothing(keys: Keyspace) -> None:
    keys.running(A)
    before = keys.server.hgetall(keys.key("jobs"))
    assert [it.new for it in keys.connection.ask(keys.database.enqueue([new(A, queue="other")]))] == [False]
    assert keys.server.hgetall(keys.key("jobs")) == before
    assert keys.lane("other") == []


def test_enqueue_with_a_delay_goes_to_the_due_index_and_rings_only_for_the_first(keys: Keyspace) -> None:
    keys.connection.ask(keys.database.enqueue([new(A, delay=1_000)]))
    assert keys.server.zrange(keys.key("due"), 0, -1, withscores=True) == [(A, NOW + 1_000)]
    assert keys.rings("mail") == 1
    keys.server.delete(keys.key("bell:mail"))
    keys.connection.ask(keys.database.enqueue([new(B, at=NOW + 9_000)]))
    assert keys.rings("mail") == 0
    assert keys.lane() == []


def test_claim_takes_in_order_writes_owner_and_lease_and_passes_the_ring_on(keys: Keyspace) -> None:
    keys.queued(A, B, C)
    claims = keys.connection.ask(keys.database.claim(["mail"], "w", TOKEN, limit=2, lease=15_000))
    assert [job.jid.bytes for job in claims.jobs] == [A, B]
    assert [job.attempt for job in claims.jobs] == [1, 1]
    assert keys.lane() == [C]
    assert keys.held() == {A, B}
    assert keys.server.zscore(keys.key("leases"), "w") == NOW + 15_000
    assert keys.counters() == {"queued": 1, "running": 2}
    assert keys.rings("mail") == 1


def test_claim_steps_over_tombstones_and_never_hands_one_out(keys: Keyspace) -> None:
    keys.queued(A, B, C)
    keys.connection.ask(keys.database.cancel([UUID(bytes=A)]))
    keys.connection.ask(keys.database.remove([UUID(bytes=B)]))
    assert keys.lane() == [A, B, C]
    claims = keys.connection.ask(keys.database.claim(["mail"], "w", TOKEN, limit=5, lease=15_000))
    assert [job.jid.bytes for job in claims.jobs] == [C]
    assert keys.lane() == []
    assert keys.members("lanes:mail") == set()


def test_claim_steps_over_at_most_a_bounded_number_of_tombstones(keys: Keyspace) -> None:
    keys.server.rpush(
        keys.key("lane:mail:0"), *[bytes([9]) * 10 + n.to_bytes(8, "big") for n in range(350)], A + b"\0\0"
    )
    keys.server.zadd(keys.key("lanes:mail"), {"0": 0})
    keys.put(A, State.QUEUED)
    keys.server.hset(keys.key("depth"), "mail", 1)
    found, calls = [], 0
    while not found:
        calls += 1
        found = keys.connection.ask(keys.database.claim(["mail"], "w", bytes([calls]) * 16, limit=50, lease=1)).jobs
    assert calls == 4


@pytest.mark.parametrize("where", ["at the head", "behind it"])
def test_claim_with_ageing_lets_nothing_pass_while_it_clears_tombstones(keys: Keyspace, where: str) -> None:
    tombstones = [bytes([9]) * 10 + n.to_bytes(8, "big") for n in range(250)]
    high = [*tombstones, A + b"\0\0"] if where == "at the head" else [A + b"\0\0", *tombstones, C + b"\0\0"]
    keys.server.rpush(keys.key("lane:mail:9"), *high)
    keys.server.rpush(keys.key("lane:mail:0"), B + b"\0\0")
    keys.server.zadd(keys.key("lanes:mail"), {"9": -9, "0": 0})
    keys.put(A, State.QUEUED, priority=9)
    keys.put(B, State.QUEUED)
    keys.put(C, State.QUEUED, priority=9)
    keys.server.hset(keys.key("depth"), "mail", 3)
    found: list[bytes] = []
    for call in range(1, 9):
        asked = keys.database.claim(["mail"], "w", bytes([call]) * 16, limit=5, lease=1, ageing=10**9)
        found += [it.jid.bytes for it in keys.connection.ask(asked).jobs]
    assert found == ([A, B] if where == "at the head" else [A, C, B])


def test_claim_ends_what_has_expired_and_takes_the_next(keys: Keyspace) -> None:
    keys.queued(A, B)
    keys.put(A, State.QUEUED, times=(NOW - 50, 0, 0, 0, NOW))
    claims = keys.connection.ask(keys.database.claim(["mail"], "w", TOKEN, limit=1, lease=15_000))
    assert [job.jid.bytes for job in claims.jobs] == [B]
    assert keys.state(A) is State.CANCELLED
    assert keys.members("cancelled") == {A}


def test_claim_with_the_token_of_the_last_claim_answers_the_same_jobs(keys: Keyspace) -> None:
    keys.queued(A, B, C)
    first = keys.connection.ask(keys.database.claim(["mail"], "w", TOKEN, limit=2, lease=15_000))
    again = keys.connection.ask(keys.database.claim(["mail"], "w", TOKEN, limit=2, lease=15_000))
    assert {job.jid for job in again.jobs} == {job.jid for job in first.jobs}
    assert min(job.fence for job in again.jobs) > max(job.fence for job in first.jobs)
    assert keys.lane() == [C]


@pytest.mark.parametrize(
    ("move", "state", "index"),
    [
        (Move.PROCESS, State.PROCESSED, "processed"),
        (Move.FAIL, State.FAILED, "failed"),
        (Move.DISCARD, State.CANCELLED, "cancelled"),
        (Move.RETRY, State.DELAYED, "due"),
        (Move.SNOOZE, State.DELAYED, "due"),
        (Move.POSTPONE, State.DELAYED, "due"),
    ],
)
def test_settle_moves_a_running_job(keys: Keyspace, move: Move, state: State, index: str) -> None:
    keys.running(A)
    assert keys.connection.ask(keys.database.settle("w", [out(A, move, delay=1_000)])) == [True]
    assert keys.state(A) is state
    assert keys.members(index) == {A}
    assert keys.held() == set()
    assert keys.counters().get("running", 0) == 0


def test_settle_of_a_release_puts_the_job_in_front_and_takes_the_attempt_back(keys: Keyspace) -> None:
    keys.queued(B)
    keys.running(A)
    keys.connection.ask(keys.database.settle("w", [out(A, Move.RELEASE)]))
    assert keys.lane() == [A, B]
    job = keys.connection.ask(keys.database.find([UUID(bytes=A)]))[0]
    assert job is not None
    assert job.attempt == 0


def test_settle_with_another_token_is_refused_and_changes_nothing(keys: Keyspace) -> None:
    keys.running(A)
    before = keys.server.hgetall(keys.key("jobs"))
    answers = keys.connection.ask(keys.database.settle("w", [out(A, Move.PROCESS, b"x" * 16), out(B, Move.FAIL)]))
    assert answers == [False, False]
    assert keys.server.hgetall(keys.key("jobs")) == before
    assert keys.held() == {A}


def test_settle_asked_twice_is_accepted_twice_and_counted_once(keys: Keyspace) -> None:
    keys.running(A)
    for _ in range(2):
        assert keys.connection.ask(keys.database.settle("w", [out(A, Move.PROCESS, value=b"1")])) == [True]
    assert keys.counters() == {"processed": 1, "kept_processed": 1}


def test_settle_pushes_the_oldest_out_of_a_full_index(keys: Keyspace) -> None:
    jids = [bytes([n]) * 16 for n in range(1, 7)]
    keys.running(*jids)
    for jid in jids:
        keys.now += 1
        keys.connection.ask(keys.database.settle("w", [out(jid, Move.PROCESS, value=b"1", failure=b"{}")]))
    for name in ("processed", "jobs", "results", "errors"):
        assert keys.members(name) == set(jids[-3:])


def test_settle_keeps_the_newest_errors_of_a_job(keys: Keyspace) -> None:
    for n in range(30):
        keys.running(A, errors=int(n > 0))
        failure = b'{"attempt":%d,"type":"E","message":""}' % n
        keys.connection.ask(keys.database.settle("w", [out(A, Move.RETRY, failure=failure, delay=10)]))
        keys.server.zrem(keys.key("due"), A)
    lines = keys.server.hget(keys.key("errors"), A).split(b"\n")
    assert len(lines) == 25
    assert b'"attempt":29' in lines[-1]


def test_settle_rings_the_callers_who_watch_a_job_that_became_final(keys: Keyspace) -> None:
    keys.running(A)
    assert keys.connection.ask(keys.database.watch([UUID(bytes=A), UUID(bytes=B)], "me")) == [State.RUNNING, None]
    keys.connection.ask(keys.database.settle("w", [out(A, Move.PROCESS)]))
    assert keys.rings("@me") == 1


def test_promote_moves_what_is_due_into_its_lane_and_ends_what_expired(keys: Keyspace) -> None:
    for jid, due in ((A, NOW - 5), (B, NOW - 9), (C, NOW + 5)):
        keys.put(jid, State.DELAYED, times=(NOW - 50, due, 0, 0, NOW - 1 if jid == A else 0))
        keys.server.zadd(keys.key("due"), {jid: due})
    promoted = keys.connection.ask(keys.database.promote(10))
    assert (promoted.moved, promoted.next_due) == (2, NOW + 5)
    assert keys.lane() == [B]
    assert keys.state(A) is State.CANCELLED
    assert keys.rings("mail") == 1


def _after_grace(keys: Keyspace) -> list[UUID]:
    for _ in range(8):
        taken = keys.connection.ask(keys.database.recover(10, lease=15_000))
        if taken:
            return taken
        keys.now += 5_000
    return []


def test_recover_takes_back_after_the_lease_counts_the_crash_and_forgets_the_worker(keys: Keyspace) -> None:
    keys.running(A, B)
    assert {jid.bytes for jid in _after_grace(keys)} == {A, B}
    assert set(keys.lane()) == {A, B}
    assert keys.members("leases") == set()
    job = keys.connection.ask(keys.database.find([UUID(bytes=A)]))[0]
    assert job is not None
    assert (job.crashes, job.attempt, job.failures[0].type) == (1, 1, "WorkerDied")
    assert keys.connection.ask(keys.database.settle("w", [out(A, Move.PROCESS)])) == [False]


def test_recover_fails_a_job_that_killed_its_worker_three_times(keys: Keyspace) -> None:
    keys.running(A, crashes=2)
    _after_grace(keys)
    job = keys.connection.ask(keys.database.find([UUID(bytes=A)]))[0]
    assert job is not None
    assert (job.state, job.reason, job.crashes) == (State.FAILED, "poison", 3)


def test_recover_waits_one_lease_when_nobody_looked_for_long(keys: Keyspace) -> None:
    keys.running(A)
    keys.connection.ask(keys.database.recover(10, lease=15_000))
    keys.now += 60_000
    assert keys.connection.ask(keys.database.recover(10, lease=15_000)) == []
    keys.now += 7_000
    assert keys.connection.ask(keys.database.recover(10, lease=15_000)) == []
    keys.now += 7_000
    keys.connection.ask(keys.database.recover(10, lease=15_000))
    keys.now += 1_001
    assert len(keys.connection.ask(keys.database.recover(10, lease=15_000))) == 1


def test_leave_of_a_worker_that_died_keeps_how_it_ended(keys: Keyspace) -> None:
    keys.running(A)
    keys.connection.ask(keys.database.leave("w", crash=Crash(how="signal 9")))
    job = keys.connection.ask(keys.database.find([UUID(bytes=A)]))[0]
    assert job is not None
    assert job.error == "WorkerDied: signal 9"
    assert job.state is State.QUEUED


def test_heartbeat_tells_what_the_store_believes_and_extend_leaves_strangers_alone(keys: Keyspace) -> None:
    keys.running(A)
    keys.connection.ask(keys.database.cancel([UUID(bytes=A)]))
    held = keys.connection.ask(keys.database.heartbeat("w", lease=9_000, info=b"{}")).held
    assert [(it.jid.bytes, it.token, it.cancel) for it in held] == [(A, TOKEN, True)]
    assert keys.rings("@w") == 1
    keys.connection.ask(keys.database.extend(["w", "stranger"], lease=20_000))
    assert keys.server.zrange(keys.key("leases"), 0, -1, withscores=True) == [(b"w", NOW + 20_000)]


def test_cancel_of_a_running_job_wins_over_its_retry(keys: Keyspace) -> None:
    keys.running(A)
    keys.connection.ask(keys.database.cancel([UUID(bytes=A)], "by hand"))
    keys.connection.ask(keys.database.settle("w", [out(A, Move.RETRY, delay=5)]))
    job = keys.connection.ask(keys.database.find([UUID(bytes=A)]))[0]
    assert job is not None
    assert (job.state, job.reason) == (State.CANCELLED, "by hand")


def test_retry_starts_a_finished_job_anew_and_keeps_its_errors(keys: Keyspace) -> None:
    keys.running(A)
    keys.connection.ask(
        keys.database.settle("w", [out(A, Move.FAIL, failure=b'{"attempt":1,"type":"E","message":""}')])
    )
    assert keys.connection.ask(keys.database.retry([UUID(bytes=A)])) == [State.FAILED]
    assert keys.counters() == {"failed": 1, "queued": 1}
    assert keys.lane() == [A]
    assert keys.members("errors") == {A}


def test_remove_leaves_nothing_of_a_waiting_job_and_all_of_a_running_one(keys: Keyspace) -> None:
    keys.queued(A)
    keys.running(B)
    found = keys.connection.ask(keys.database.remove([UUID(bytes=A), UUID(bytes=B), UUID(bytes=C)]))
    assert found == [State.QUEUED, State.RUNNING, None]
    assert keys.members("jobs") == {B}
    assert keys.server.hget(keys.key("depth"), "mail") == b"0"


def test_purge_removes_up_to_its_limit(keys: Keyspace) -> None:
    keys.queued(A, B, C)
    assert keys.connection.ask(keys.database.purge("mail", 2)) == 2
    assert keys.members("jobs") == {C}


def test_prune_forgets_by_age_and_by_count(keys: Keyspace) -> None:
    day = 24 * 3600 * 1000
    for n, jid in enumerate((A, B, C, D, E)):
        at = NOW - 2 * day if jid == A else NOW - 100 + n
        keys.finished(jid, State.PROCESSED, at)
    assert keys.connection.ask(keys.database.prune(100)) == 2
    assert keys.members("processed") == keys.members("jobs") == {C, D, E}


def test_prune_clears_tombstones_and_keeps_the_order(keys: Keyspace) -> None:
    live = [bytes([7]) * 8 + n.to_bytes(8, "big") for n in range(20)]
    dead = [bytes([8]) * 10 + n.to_bytes(8, "big") for n in range(2_000)]
    for n, jid in enumerate(live):
        keys.queued(jid)
        keys.server.rpush(keys.key("lane:mail:0"), *dead[n * 100 : n * 100 + 100])
    for _ in range(10):
        keys.connection.ask(keys.database.prune(500))
    assert keys.lane() == live
    assert keys.server.exists(keys.key("front:mail:0")) == 0


def test_list_pages_through_every_state_without_loss_or_repeat(keys: Keyspace) -> None:
    jids = [bytes([n]) * 16 for n in range(1, 12)]
    keys.queued(*jids[:5])
    keys.running(*jids[5:])
    keys.connection.ask(keys.database.settle("w", [out(jid, Move.PROCESS) for jid in jids[5:8]]))
    for state, expected in ((State.QUEUED, jids[:5]), (State.RUNNING, jids[8:]), (State.PROCESSED, jids[5:8])):
        seen, cursor = [], None
        while True:
            page = keys.connection.ask(keys.database.page(Query(state=state), cursor=cursor, limit=2))
            seen += [job.jid.bytes for job in page.jobs]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == expected
        assert len(seen) == len(expected)


def test_prune_moves_any_number_of_live_entries(keys: Keyspace) -> None:
    there = [n.to_bytes(16, "big") for n in range(9_000)]
    keys.connection.ask(keys.database.enqueue([new(jid) for jid in there]))
    tombstones = [bytes([9]) * 10 + n.to_bytes(8, "big") for n in range(10_100)]
    keys.server.lpush(keys.key("lane:mail:0"), *tombstones)
    assert keys.connection.ask(keys.database.prune(20_000)) == 0
    assert keys.lane() == there


def test_a_page_passes_a_bounded_number_of_tombstones_and_the_next_goes_on(keys: Keyspace) -> None:
    lane, entry = keys.key("lane:mail:0"), (bytes([9]) * 10 + n.to_bytes(8, "big") for n in range(25_000))
    while some := [*islice(entry, 5_000)]:
        keys.server.rpush(lane, *some)
    keys.queued(A)
    found, calls, cursor = [], 0, None
    while not found:
        calls += 1
        page = keys.connection.ask(keys.database.page(Query(state=State.QUEUED), cursor=cursor, limit=50))
        found, cursor = page.jobs, page.cursor
    assert (calls, [it.jid.bytes for it in found], cursor) == (3, [A], None)


def test_a_page_goes_on_where_the_last_one_ended_however_much_was_claimed_meanwhile(keys: Keyspace) -> None:
    there = [n.to_bytes(16, "big") for n in range(3_000)]
    keys.connection.ask(keys.database.enqueue([new(jid) for jid in there]))
    for claims, ended in ((6, 700), (11, 1_500), (3, 200)):  # near, far, and beyond the last one seen
        left = keys.lane()
        page = keys.connection.ask(keys.database.page(Query(state=State.QUEUED), limit=ended))
        for n in range(claims):
            keys.connection.ask(keys.database.claim(["mail"], "w", b"%d-%d" % (ended, n), limit=100, lease=15_000))
        rest = keys.connection.ask(keys.database.page(Query(state=State.QUEUED), cursor=page.cursor, limit=3_000))
        assert [job.jid.bytes for job in rest.jobs] == left[max(ended, 100 * claims) :]


def test_peek_shows_the_front_and_the_rear(keys: Keyspace) -> None:
    keys.queued(A, B)
    keys.queued(C, priority=3)
    front = keys.connection.ask(keys.database.peek("mail", limit=2))
    rear = keys.connection.ask(keys.database.peek("mail", limit=2, rear=True))
    assert [job.jid.bytes for job in front] == [C, A]
    assert [job.jid.bytes for job in rear] == [B, A]


def test_pause_and_resume_are_seen_by_queues_and_by_claims(keys: Keyspace) -> None:
    keys.queued(A)
    keys.connection.ask(keys.database.pause(["mail"], "too hot"))
    info = keys.connection.ask(keys.database.queues())[0]
    assert (info.name, info.queued, info.paused, info.reason, info.oldest) == ("mail", 1, True, "too hot", NOW - 50)
    assert keys.connection.ask(keys.database.claim(["mail"], "w", TOKEN, limit=1, lease=1)).jobs == []
    keys.connection.ask(keys.database.resume(["mail"]))
    assert keys.rings("mail") == 1
    assert len(keys.connection.ask(keys.database.claim(["mail"], "w", b"u" * 16, limit=1, lease=1)).jobs) == 1


def test_counts_and_workers_read_what_is_there(keys: Keyspace) -> None:
    keys.queued(A)
    keys.running(B)
    counts = keys.connection.ask(keys.database.counts())
    assert (counts.queued, counts.running, counts.processed) == (1, 1, 0)
    assert [(it.id, it.running) for it in keys.connection.ask(keys.database.workers())] == [("w", 1)]


def test_flush_takes_this_namespace_and_no_other(keys: Keyspace) -> None:
    keys.queued(A)
    keys.running(B)
    other = Keyspace(keys.server, keys.namespace + ".other")
    other.queued(C)
    before = {key: keys.server.dump(key) for key in keys.server.keys(other.tag + "*")}
    keys.connection.ask(keys.database.flush())
    assert keys.server.keys(keys.tag + ":*") == []
    assert {key: keys.server.dump(key) for key in keys.server.keys(other.tag + "*")} == before
    other.connection.ask(other.database.flush())
    other.connection.close()


def test_a_script_that_the_server_forgot_is_asked_again_alone(keys: Keyspace) -> None:
    keys.connection.ask(keys.database.enqueue([new(A)]))
    keys.connection.ask(keys.database.counts())
    keys.server.script_flush()
    keys.connection.ask(keys.database.enqueue([new(B)]))
    keys.server.script_flush()
    keys.connection.ask(keys.database.counts())
    claims, counts = keys.connection.ask(
        keys.database.claim(["mail"], "w", TOKEN, limit=1, lease=15_000), keys.database.counts()
    )
    assert len(claims.jobs) == 1
    assert counts.running in (0, 1)
    assert keys.held() == {A}


def test_a_claim_of_ten_times_as_many_costs_about_ten_times_as_much(keys: Keyspace) -> None:
    keys.connection.ask(keys.database.enqueue([new(n.to_bytes(16, "big")) for n in range(1, 3_301)]))

    def seconds(limit: int, token: int) -> float:
        started = time.perf_counter()
        keys.connection.ask(keys.database.claim(["mail"], "w", bytes([token]) * 16, limit=limit, lease=15_000))
        return time.perf_counter() - started

    small = min(seconds(100, token) for token in range(1, 4))
    large = min(seconds(1_000, token) for token in range(4, 7))
    assert large < 40 * small


def test_a_heartbeat_that_recovers_and_promotes_files_each_at_its_end_of_the_lane(keys: Keyspace) -> None:
    keys.queued(A)
    keys.running(B, worker="dead")
    keys.put(C, State.DELAYED, times=(NOW - 50, NOW - 1, 0, 0, 0))
    keys.server.zadd(keys.key("due"), {C: NOW - 1})
    keys.server.zadd(keys.key("leases"), {"dead": NOW - 1})
    beat = keys.connection.ask(keys.database.heartbeat("w", lease=15_000, info=b"{}", limit=10))
    assert beat.recovered == 1
    assert keys.lane() == [B, A, C]


def test_enqueue_of_a_known_jid_makes_no_queue(keys: Keyspace) -> None:
    keys.queued(A)
    keys.connection.ask(keys.database.enqueue([new(A, queue="other")]))
    assert keys.server.hkeys(keys.key("depth")) == [b"mail"]
