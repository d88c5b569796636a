"""Negative controls: each guard is taken out once, and the scenario that guards it is seen to fail.

A test that cannot fail proves nothing. So for every guard there is a row: what it is called, where it stands, how it is
taken out (`removal.py`: by text, never by a switch in the product), and the scenario that holds with it and fails
without. Most scenarios are tests of the contract suite, others are random schedules or stand in `scenarios.py`. The
table is printed by `python -m tests.guards.test_guards`.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from procession.database.redis import scripts
from procession.database.redis.asking import asking, of_bells
from procession.database.redis.line_async import AsyncLine
from procession.database.redis.lookout import wait
from procession.database.redis.steps import Slot
from procession.moves import Move
from procession.runtime.claiming import Claiming
from procession.runtime.heartbeat import LeaseKeeper, compare
from procession.runtime.loop_executor import LoopExecutor
from procession.runtime.outbox import Outbox
from procession.runtime.performer import Performer
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.thread_executor import ThreadExecutor
from procession.testing.contract import ageing as test_ageing
from procession.testing.contract import deadline as test_deadline
from procession.testing.contract import faults as test_faults
from procession.testing.contract import limits as test_limits
from procession.testing.contract import queue as test_queue
from procession.testing.contract import recovery as test_recovery
from procession.testing.contract import schedules as test_schedules
from procession.testing.contract import shelf as test_shelf
from procession.testing.contract import unique as test_unique
from procession.waiter import Waiter
from tests.guards import scenarios
from tests.guards.guard import Guard, function, script
from tests.guards.removal import function_without, script_without
from tests.guards.stage import play
from tests.lua import test_scripts
from tests.model.schedule import NETWORK
from tests.runtime import test_ahead, test_claims_ahead, test_threads, test_trips

STORE = (
    script(
        "a claim writes who has the job in the same script that takes it out of its queue",
        "claim.lua", "jid, its_head .. enqueued_and_spec", "jid, raw",
        test_faults.test_a_worker_that_dies_right_after_its_claim_is_found,
    ),
    script(
        "a claim writes what its worker holds, so that recovery finds it",
        "claim.lua", "  hold(worker, token, claimed)\n", "",
        test_faults.test_a_worker_that_dies_right_after_its_claim_is_found,
    ),
    script(
        "a claim gives its worker a lease, so that recovery finds it even if it never beats",
        "claim.lua", "redis.call('ZADD', T .. ':leases', 'GT', now + lease, worker)", "redis.call('ECHO', worker)",
        test_faults.test_a_worker_that_dies_right_after_its_claim_is_found,
    ).also("lib/duties.lua", "  lend(lease)\n"),
    script(
        "a claim asked again with its token takes nothing new",
        "claim.lua", "if last == token or held then", "if false then",
        test_queue.test_a_claim_repeated_with_its_token_answers_the_same_and_takes_nothing,
    ),
    script(
        "a claim that comes late takes nothing, or its token would name two claims",
        "claim.lua", "local in_turn = not last or after == '' or after == last", "local in_turn = true",
        test_faults.test_a_claim_that_comes_late_takes_nothing_once_another_was_made,
    ),
    script(
        "a claim that comes late answers what is held under it",
        "claim.lua", "if last == token or held then", "if last == token then",
        test_faults.test_a_claim_that_comes_late_answers_what_is_still_held_under_it,
    ),
    script(
        "an attempt is counted at the claim",
        "claim.lua", "struct.pack('>BBHHBB', VERSION, RUNNING, 0, 1, 0, HAS_HISTORY)",
        "struct.pack('>BBHHBB', VERSION, RUNNING, 0, 0, 0, HAS_HISTORY)",
        test_queue.test_a_claimed_job_is_running_with_owner_and_counted_attempt,
    ),
    script(
        "the attempt of a job that ran before is counted at the claim",
        "claim.lua", "math.min(r.attempt + 1, 65535)", "r.attempt",
        test_queue.test_a_job_that_keeps_killing_its_worker_fails_as_poison_after_three_runs,
    ),
    script(
        "what has expired is not handed out",
        "claim.lua", "if r.expires > 0 and r.expires <= now and r.attempt == 0 then", "if false then",
        test_queue.test_an_expired_job_is_cancelled_and_never_handed_out,
    ),
    script(
        "a unique key is held as long as its job says, and no longer",
        "lib/unique.lua", "if its ~= key or not is_held(r, frees, window, deadline) then return nil end", "",
        test_unique.test_an_expired_job_frees_its_key,
    ),
    script(
        "a job that lost its unique key takes nothing with it",
        "lib/record.lua", "if redis.call('HGET', UNIQUE, key) == jid then", "if true then",
        test_unique.test_a_job_that_lost_its_key_takes_nothing_with_it,
    ),
    script(
        "a job that is put off and back in one call is claimed once",
        "lib/lanes.lua", "if not handed[jid] and (untouched", "if (untouched",
        test_unique.test_replace_back_and_forth_in_one_call_leaves_one_job,
    ),
    script(
        "a job that was removed and enqueued again is claimed once",
        "lib/lanes.lua", "if not handed[jid] and (untouched", "if (untouched",
        test_shelf.test_a_removed_jid_that_is_enqueued_again_is_one_job, ageing=0,
    ),
    script(
        "a job that was removed and enqueued again is claimed once where jobs age",
        "lib/ageing.lua", "local r = not handed[jid] and is_queued", "local r = is_queued",
        test_shelf.test_a_removed_jid_that_is_enqueued_again_is_one_job, ageing=1_000,
    ),
    script(
        "a job that was removed and enqueued again is shown once",
        "lib/rows.lua", "if raw and not shown[jid] and is_sound(raw) then", "if raw and is_sound(raw) then",
        test_shelf.test_a_removed_jid_that_is_enqueued_again_is_one_job, ageing=0,
    ),
    script(
        "a retry by hand does not run beside the job that holds its unique key",
        "retry.lua", "and not takes_key(jid, r) then", "and not takes_key(jid, r) and false then",
        test_unique.test_a_retried_job_whose_key_is_taken_is_refused_until_it_is_free,
    ),
    script(
        "with ageing, a job that has waited long takes none of those behind it along",
        "lib/ageing.lua", "if not second or head.own > heads[second].level then", "if true then",
        test_ageing.test_a_head_that_has_aged_takes_none_of_those_behind_it_along,
    ),
    script(
        "a job that waits beyond its deadline is failed where it waits",
        "heartbeat.lua", "  deadlines_missed(limit)\n", "",
        test_deadline.test_a_job_that_waits_beyond_its_deadline_is_failed_where_it_waits, fields={}, duty="heartbeat",
    ),
    script(
        "a run that is beyond its deadline is left to its worker",
        "lib/deadlines.lua", "if r and r.state < RUNNING then", "if r then",
        test_deadline.test_of_those_that_are_late_a_limit_fails_the_earliest_and_a_run_is_left_to_its_worker,
    ),
    script(
        "jobs of a dead worker come back in the order in which they were claimed",
        "lib/finish.lua", "as_claimed(worker, held_by(worker, true))", "held_by(worker, true)",
        test_recovery.test_jobs_are_taken_back_in_the_order_in_which_they_were_claimed_whatever_their_ids, how="leave",
    ),
    script(
        "a claim that leaves work behind passes the ring on",
        "claim.lua", "      ring(queue)\n", "",
        test_scripts.test_claim_takes_in_order_writes_owner_and_lease_and_passes_the_ring_on,
    ),
    script(
        "an entry that its record does not name any more is stepped over",
        "lib/lanes.lua", "untouched or is_queued(raw, entries[i], whose)", "raw and string.byte(raw, 2) == QUEUED",
        test_faults.test_a_job_cancelled_and_retried_is_handed_out_once_and_in_its_new_place,
    ),
    script(
        "the fence: only the current claim's success counts",
        "settle.lua", "    if find(raw, before, at + 6, true) ~= at + 6 then return false end\n", "",
        test_faults.test_a_claim_that_was_given_back_settles_nothing_afterwards, move=Move.PROCESS,
    ),
    script(
        "the fence: a job that is like another one settled before it counts by its own claim",
        "settle.lua", "head = sub(raw, 1, from - 1)", "head = sub(raw, 1, 2)",
        test_faults.test_of_jobs_that_are_alike_each_settles_by_its_own_claim, taken_back=1,
    ),
    script(
        "the fence: only the current claim's other outcomes count",
        "settle.lua", "if r and r.state == RUNNING and r.token == token then", "if r and r.state == RUNNING then",
        test_faults.test_an_outcome_of_an_earlier_claim_is_refused_while_another_runs, move=Move.RETRY,
    ),
    script(
        "a repeated settle is known again by its token alone",
        "settle.lua", "return r and KEPT[r.state] and r.token ~= '' and r.token == string.sub(token, 1, 4)",
        "return r and KEPT[r.state]",
        test_faults.test_an_outcome_of_an_earlier_claim_is_refused_after_the_job_ended, move=Move.FAIL,
    ),
    script(
        "a cancellation wins over the retry",
        "settle.lua", "if r.cancel and move ~= 'process' then final, reason = CANCELLED, r.reason end", "",
        test_shelf.test_cancel_of_a_running_job_wins_over_its_retry_and_loses_against_its_success,
    ),
    script(
        "a full store takes outcomes",
        "settle.lua", "-- flags: allow-oom", "-- flags:",
        scenarios.a_full_store_takes_outcomes_and_refuses_work,
    ),
    script(
        "a full store refuses new work",
        "enqueue.lua", "-- flags:\n", "-- flags: allow-oom\n",
        scenarios.a_full_store_takes_outcomes_and_refuses_work,
    ),
    script(
        "one jid is one job, however often it is enqueued",
        "enqueue.lua", "if raws[i] or there[jid] then", "if false then",
        test_queue.test_enqueuing_a_jid_twice_makes_one_job,
    ),
    script(
        "one jid is one job with rules, too",
        "enqueue.lua", "there[jid] or redis.call('HEXISTS', JOBS, jid) == 1", "there[jid]",
        test_deadline.test_a_job_with_a_deadline_is_one_job_however_often_it_is_enqueued,
    ),
    script(
        "of two who decided the same instant of a schedule one fires",
        "fire.lua", "if s.next_at ~= expected or s.paused_at then return 'lost' end", "",
        test_schedules.test_of_two_who_decided_the_same_one_fires,
    ),
    script(
        "an instant that was decided is never fired again",
        "fire.lua", "if slot > (s.last_at or 0) then", "if true then",
        test_schedules.test_a_slot_is_never_fired_again_even_when_its_job_is_gone,
    ),
    script(
        "where the job of an instant is still stored, a backfill makes no second one",
        "fire.lua", "if load(jid) then return false end", "",
        test_schedules.test_a_run_by_hand_and_a_backfill_leave_the_next_slot_alone,
    ),
    script(
        "a worker holds only jobs whose record names it and its token",
        "lib/held.lua", "if r and r.state == RUNNING and r.worker == worker and r.token == token then",
        "if r and r.state == RUNNING then",
        test_faults.test_a_worker_whose_jobs_were_taken_back_is_told_that_it_holds_none_of_them,
    ).also("lib/finish.lua", "  redis.call('DEL', held_key(worker))\n"),
    script(
        "a heartbeat that comes after its worker left makes no worker",
        "heartbeat.lua", "if not left then", "if true then",
        test_faults.test_a_heartbeat_that_comes_after_its_worker_left_makes_no_worker,
    ),
    script(
        "a claim that comes after its worker left takes nothing",
        "claim.lua", "elseif not left then", "else",
        test_faults.test_a_claim_that_comes_after_its_worker_left_takes_nothing,
    ),
    script(
        "a death is told of to one worker only",
        "heartbeat.lua", "redis.call('LPOP', deaths_key(queue), 100)", "redis.call('LRANGE', deaths_key(queue), 0, 99)",
        test_faults.test_one_worker_of_the_queue_is_told_of_each_death_once,
    ),
    script(
        "to extend an unknown worker makes none",
        "extend.lua", "'XX', ", "", test_faults.test_to_extend_an_unknown_worker_makes_none,
    ),
    script(
        "a crash is counted when the job is taken back",
        "lib/finish.lua", "r.crashes = math.min(r.crashes + 1, 255)", "",
        test_queue.test_a_job_that_keeps_killing_its_worker_fails_as_poison_after_three_runs,
    ),
    script(
        "a grace of one lease after nobody looked for long",
        "lib/duties.lua", "if now >= grace then", "if true then",
        test_queue.test_recovery_waits_one_lease_after_an_outage,
    ),
)  # fmt: skip

RUNTIME = (
    function(
        "a run that lost its lease is stopped at the heartbeat",
        compare, "if jid not in believed or believed", "if jid in believed and believed",
        scenarios.a_run_whose_job_was_taken_back_is_stopped,
    ),
    function(
        "the heartbeat compares tokens, not only jobs",
        compare, " or believed[jid].token != token", "",
        scenarios.a_newer_claim_of_the_same_job_is_not_the_run_that_goes_on,
    ),
    function(
        "a job that a worker holds and knows nothing of is given back",
        QueueWorker._beat, "for held in self._claiming.unbrought(conclusion.strangers, claiming=claiming):",
        "for held in []:",
        scenarios.a_job_claimed_without_its_worker_knowing_runs_all_the_same,
    ),
    function(
        "a run of an older claim does not go on beside one of a newer",
        Performer.begin, "if jid in self._active:", "if False:",
        scenarios.a_job_claimed_anew_by_its_worker_runs_there_once_at_a_time,
    ),
    function(
        "what waits for a place does not begin while the lease may have ended",
        LoopExecutor.fill, "if monotonic() < self.performance.alive_until:", "if True:",
        test_ahead.test_what_waits_does_not_begin_while_the_lease_may_have_ended,
    ).also(LoopExecutor._perform_those_waiting, " and now < performance.alive_until"),
    function(
        "nor in a thread that goes on by itself",
        ThreadExecutor._taken, " or monotonic() >= self.performance.alive_until", "",
        test_threads.test_no_thread_begins_what_waits_once_the_lease_may_have_ended,
    ),
    function(
        "a run that goes on is watched, also where its thread began it by itself",
        ThreadExecutor._look_soon, "if self._working > told and not self._looking:", "if False:",
        test_threads.test_a_run_that_begins_in_a_busy_thread_is_watched_as_any_other, how="timeout", seconds=1.0,
    ),
    function(
        "what the claim under way will answer is no stranger",
        Claiming.unbrought, "if held.token != self._token", "",
        scenarios.some_schedules, weather=NETWORK,
    ),
    function(
        "what the store hands out with a ring waits for the end of the turn under way",
        QueueWorker._came, "async with self._turning:", "if True:",
        test_claims_ahead.test_what_a_turn_compares_is_not_disturbed_by_a_job_that_comes_meanwhile,
    ),
    function(
        "whoever goes withdraws the claim that lies behind its wait",
        QueueWorker._wind_down, "self._listener.anew()", "pass",
        test_claims_ahead.test_a_worker_that_leaves_has_withdrawn_its_claim,
    ),
    function(
        "of a claim in a turn and the one behind a wait one answer counts",
        Claiming.counts, "claim is self._ahead", "True",
        test_claims_ahead.test_a_job_that_comes_in_a_turn_is_not_begun_anew_when_it_comes_with_a_ring,
    ),
    function(
        "no trip sets out before what a beat says is compared",
        QueueWorker._following, '"beat" in answers', "False",
        test_trips.test_jobs_of_a_claim_that_is_repeated_with_its_beat_are_no_strangers,
    ),
    function(
        "the token of a claim is random, no counter that a failover sets back",
        Claiming.__init__, "= _new_token(), _new_token()", "= _new_token(), bytes(8)",
        scenarios.the_claim_that_a_failover_forgot_settles_nothing,
    ),
    function(
        "outcomes are kept until the store has answered",
        Outbox.taken, "return self._waiting[:BATCH]",
        "batch, self._waiting[:BATCH] = self._waiting[:BATCH], []; return batch",
        scenarios.outcomes_stay_until_the_store_has_answered,
    ),
    function(
        "a thread extends the lease of a blocked loop",
        LeaseKeeper._run, "connection.ask(self._database.extend([self._worker], lease=self._lease))", "pass",
        scenarios.a_blocked_loop_keeps_its_lease,
    ),
    function(
        "who waits for a job looks before listening",
        Waiter.final_state, "await self._look([jid])", "pass",
        scenarios.a_job_that_is_final_already_is_not_waited_for,
    ),
)  # fmt: skip

CONNECTIONS = (
    function(
        "a bell is a hint: what a caller hears who then dies was no job",
        of_bells, 'f"{tag}:bell:{bell}"', 'f"{tag}:lane:{bell}:0"',
        test_faults.test_a_ring_that_a_dead_caller_heard_takes_no_job_with_it,
    ),
    function(
        "an event loop's call has a deadline",
        AsyncLine.exchange, "call_later(deadline.left(),", "call_later(3_600.0,",
        scenarios.a_silent_store_is_given_up_by_an_event_loop,
    ),
    function(
        "a thread's call has a deadline",
        wait, "what.poll(deadline.left() * 1_000)", "what.poll()",
        scenarios.a_silent_store_is_given_up_by_a_thread,
    ),
    function(
        "a line that may be dead is replaced before it is used",
        Slot.ready, "self.line is None or self.line.is_stale", "self.line is None",
        scenarios.a_line_that_the_server_closed_is_replaced_before_use,
    ),
    function(
        "of a trip only what the server did not know is asked again",
        asking, "todo = again", "todo = [*todo]",
        scenarios.only_what_the_server_did_not_know_is_asked_again,
    ),
)  # fmt: skip

GIVEN_BACK = "if r.rules then limits().give_back(jid, r) end\n"
LIMITS = (
    script(
        "a job is ready only with a slot of its limit",
        "lib/limits.lua", "it.taken(limit) < (said or most)", "true",
        test_limits.test_no_more_than_the_slots_are_ready_or_run_and_the_rest_wait_in_order,
    ),
    script(
        "a job that comes later gets no slot before those who wait",
        "lib/limits.lua", "if room and redis.call('ZLEXCOUNT', WAITING, it.ends_of(limit)) > 0 then", "if false then",
        test_limits.test_where_one_call_cannot_hand_on_all_slots_no_job_that_comes_later_gets_one_first,
    ),
    script(
        "a job that becomes due asks for a slot",
        "lib/duties.lua", "if r.rules then limits().admit(jid, r) else to_lane(jid, r) end", "to_lane(jid, r)",
        test_limits.test_a_delayed_job_has_no_slot_until_it_is_due,
    ),
    script(
        "a retry by hand asks for a slot",
        "lib/revive.lua", "limits().admit(jid, r)", "to_lane(jid, r)",
        test_limits.test_a_finished_job_that_is_retried_asks_for_a_slot,
    ),
    script(
        "a slot that was given back is handed on in the same script",
        "lib/record.lua", "if limits_made then limits_made.hand_on() end", "",
        test_limits.test_a_slot_goes_to_the_next_exactly_when_its_job_is_no_longer_under_way,
        way=test_limits.processed,
    ),
    script(
        "a job that ends gives its slot back, a blocked one its turn",
        "lib/finish.lua", f"  {GIVEN_BACK}  r.state, r.finished", "  r.state, r.finished",
        test_limits.test_a_slot_goes_to_the_next_exactly_when_its_job_is_no_longer_under_way,
        way=test_limits.poisoned,
    ),
    script(
        "a job that is removed gives its slot back",
        "lib/finish.lua", f"  {GIVEN_BACK}  leave_state", "  leave_state",
        test_limits.test_a_slot_goes_to_the_next_exactly_when_its_job_is_no_longer_under_way,
        way=test_limits.removed,
    ),
    script(
        "a job that waits for a retry gives its slot back",
        "settle.lua", GIVEN_BACK, "\n",
        test_limits.test_a_retry_asks_again_when_it_is_due_and_waits_behind_those_who_wait,
    ),
    script(
        "a purged queue gives slots back",
        "purge.lua", GIVEN_BACK, "\n",
        test_limits.test_a_slot_goes_to_the_next_exactly_when_its_job_is_no_longer_under_way,
        way=test_limits.purged,
    ),
    script(
        "a more urgent job waits before others",
        "lib/limits.lua", "100 - priority", "100",
        test_limits.test_the_highest_priority_waits_least_then_who_came_first,
    ),
    script(
        "a more urgent job takes the slot of one that is not begun",
        "lib/limits.lua", " or makes_way(limit, r.priority)", "",
        test_limits.test_a_more_urgent_job_takes_the_slot_of_one_that_is_not_begun,
    ),
    script(
        "a job that made way is the first of its priority to get a slot again",
        "lib/limits.lua", "block(found, least, 0)", "block(found, least, 999)",
        test_limits.test_a_more_urgent_job_takes_the_slot_of_one_that_is_not_begun,
    ),
    script(
        "a job with other arguments comes under their limit",
        "lib/ruled.lua", "  come_under(jid, r, slot)\n", "",
        test_limits.test_a_replaced_job_goes_from_its_limit_to_that_of_its_new_arguments, under=test_limits.OTHER,
        then="bqq",
    ),
)  # fmt: skip

GUARDS = (*STORE, *LIMITS, *RUNTIME, *CONNECTIONS)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_scenario_holds_with_its_guard_and_fails_without_it(guard: Guard, valkey_url: str) -> None:
    if guard.scenario is not scenarios.some_schedules:  # which are a test of their own
        play(guard.scenario, valkey_url, **guard.given)
    with ExitStack() as stack:
        for removal in guard.removals:
            stack.enter_context(removal())
        with pytest.raises(AssertionError):
            play(guard.scenario, valkey_url, **guard.given)


def test_what_was_taken_out_is_back() -> None:
    """No guard stays out after its scenario."""
    whole = [scripts.script(name) for name in scripts.names()]
    with script_without("settle.lua", "-- flags: allow-oom", "-- flags:"):
        assert scripts.script("settle").sha not in {it.sha for it in whole}
    assert [scripts.script(name) for name in scripts.names()] == whole
    with function_without(compare, " or believed[jid].token != token", ""), pytest.raises(AssertionError):
        scenarios.a_newer_claim_of_the_same_job_is_not_the_run_that_goes_on()
    scenarios.a_newer_claim_of_the_same_job_is_not_the_run_that_goes_on()


if __name__ == "__main__":
    print("| guard | stands in | fails without it |\n|---|---|---|")
    for it in GUARDS:
        print(f"| {it.name} | `{it.where}` | `{it.scenario.__module__}.{it.scenario.__name__}` |")
