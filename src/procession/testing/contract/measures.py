"""What is measured, sentence by sentence of the docstrings: buckets, histograms, groups of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from procession.database import Database
from procession.database.measures import HOUR, MINUTE, RUN, WAIT, Seen, Step, class_of, quantile
from procession.job import new_jid
from procession.moves import Move
from procession.testing.contract.fixtures import NOW, Clock
from procession.testing.contract.queue import FAILURE, claim, new, settle

Ask = Callable[..., Any]


def events(database: Database, ask: Ask, scope: str = "", *, step: Any = MINUTE, number: int = 1) -> list[Any]:
    return [dict(it.events) for it in ask(database.history(step=step, number=number, scope=scope))]


def error(fingerprint: str = "f", **fields: Any) -> Seen:
    given = {"type": "KeyError", "message": "no", "where": "app:f", "count": 1, "names": ("app.f",), **fields}
    return Seen(fingerprint=fingerprint, **{"samples": (new_jid(),), **given})


def test_every_event_is_counted_in_its_minute_and_hour_by_queue_and_in_all(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new(), new(), new(queue="b"), new(), new(delay=1)]))
    jobs = claim(database, ask, queues=("mail", "b")).jobs
    assert len(jobs) == 4
    moves = (Move.PROCESS, Move.FAIL, Move.RETRY, Move.PROCESS)
    for job, move in zip(jobs, moves, strict=True):
        assert settle(database, ask, job, move, failure=None if move is Move.PROCESS else FAILURE)
    delayed = new(delay=1_000)
    ask(database.enqueue([delayed]), database.cancel([delayed.jid]))
    assert events(database, ask) == [{0: 6, 1: 2, 2: 1, 3: 1, 4: 1}]
    assert events(database, ask, "qmail") == [{0: 5, 1: 1, 2: 1, 3: 1, 4: 1}]
    assert events(database, ask, "qb", step=HOUR) == [{0: 1, 1: 1}]
    clock.pass_(MINUTE)
    ask(database.enqueue([new()]))
    assert events(database, ask, number=3) == [{}, {0: 6, 1: 2, 2: 1, 3: 1, 4: 1}, {0: 1}]
    assert [it.at for it in ask(database.history(step=MINUTE, number=2))] == [NOW, NOW + MINUTE]
    assert events(database, ask, step=HOUR) == [{0: 7, 1: 2, 2: 1, 3: 1, 4: 1}]


def test_an_outcome_that_is_refused_or_repeated_counts_nothing(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new()]))
    (job,) = claim(database, ask).jobs
    settle(database, ask, job, Move.PROCESS)
    settle(database, ask, job, Move.PROCESS)
    settle(database, ask, job, Move.FAIL, failure=FAILURE)
    ask(database.enqueue([]))
    assert events(database, ask) == [{0: 1, 1: 1}]


def test_what_workers_measure_adds_up(database: Database, ask: Ask) -> None:
    for _ in range(2):
        ask(database.measure({"enapp.f": {1: 3, 2: 1}, "hnapp.f": {WAIT: 1, RUN + 7: 3}, "h": {RUN + 7: 3}}))
    (bucket,) = ask(database.history(step=MINUTE, number=1, scope="napp.f"))
    assert (bucket.events, bucket.histograms) == ({1: 6, 2: 2}, {WAIT: 2, RUN + 7: 6})
    (bucket,) = ask(database.history(step=HOUR, number=1))
    assert (bucket.events, bucket.histograms) == ({}, {RUN + 7: 6})


def test_series_beyond_the_bound_are_counted_without_their_name(database: Database, ask: Ask) -> None:
    ask(database.measure({f"enjob{at}": {1: 1} for at in range(1_989)}))  # and the depth of all queues
    ask(database.measure({f"en{letter}{at}": {1: 1} for letter in "ab" for at in range(10)}))
    assert events(database, ask, "n") == [{1: 10}]
    ask(database.measure({"enz": {1: 4}, "en0": {2: 1}, "enjob0": {1: 1}}))
    assert events(database, ask, "n") == [{1: 14, 2: 1}]
    assert events(database, ask, "njob0") == [{1: 2}]


@pytest.mark.parametrize("fields", [{}, {"delay": 2_000}])
def test_a_claim_says_how_long_the_job_was_ready(
    database: Database, ask: Ask, clock: Clock, fields: dict[str, int]
) -> None:
    job = new(**fields)
    ask(database.enqueue([job]))
    clock.pass_(fields.get("delay", 0))
    ask(database.promote(10))
    clock.pass_(300)
    (claimed,) = claim(database, ask).jobs
    assert claimed.waited == 300
    settle(database, ask, claimed, Move.RETRY, delay=1_000)
    clock.pass_(1_000)
    ask(database.promote(10))
    clock.pass_(50)
    (claimed,) = claim(database, ask).jobs
    assert claimed.waited == 50
    settle(database, ask, claimed, Move.RELEASE)
    (claimed,) = claim(database, ask).jobs
    assert claimed.waited is None
    settle(database, ask, claimed, Move.PROCESS)
    ask(database.retry([job.jid]))
    clock.pass_(7)
    assert claim(database, ask).jobs[0].waited == 7


def test_errors_are_grouped(database: Database, ask: Ask, clock: Clock) -> None:
    one, two = error(count=2), error(names=("app.g", "app.f"))
    ask(database.measure({}, [one, error("other")]))
    clock.pass_(MINUTE)
    ask(database.measure({}, [two]))
    group, other = ask(database.groups(10))
    assert (group.fingerprint, group.type, group.message, group.where) == ("f", "KeyError", "no", "app:f")
    assert (group.count, group.first_at, group.last_at) == (3, NOW, NOW + MINUTE)
    assert (group.names, group.samples) == (("app.g", "app.f"), (*one.samples, *two.samples))
    assert group.sample == two.samples[0]
    assert group.minutes == ((NOW, 2), (NOW + MINUTE, 1))
    assert other.fingerprint == "other"
    assert ask(database.groups(1)) == [group]


def test_a_group_names_the_workers_that_it_hit_the_newest_last(database: Database, ask: Ask) -> None:
    for at in (*range(12), 5):
        ask(database.measure({}, [error(workers=(f"w{at}",))]))
    ask(database.measure({}, [error()]))  # of a release that did not tell
    (group,) = ask(database.groups(10))
    assert group.workers == ("w2", "w3", "w4", "w6", "w7", "w8", "w9", "w10", "w11", "w5")


def test_a_group_is_bounded(database: Database, ask: Ask, clock: Clock) -> None:
    for at in range(70):
        ask(database.measure({}, [error(names=(f"app.f{at}",))]))
        clock.pass_(MINUTE)
    (group,) = ask(database.groups(10))
    assert (group.count, len(group.minutes), len(group.samples)) == (70, 60, 20)
    assert group.names == tuple(f"app.f{at}" for at in range(60, 70))


def test_the_group_seen_longest_ago_makes_way(database: Database, ask: Ask, clock: Clock) -> None:
    for at in range(502):
        ask(database.measure({}, [error(f"f{at:03}")]))
        clock.pass_(1)
    groups = ask(database.groups(1_000))
    assert (len(groups), groups[0].fingerprint, groups[-1].fingerprint) == (500, "f501", "f002")


def test_a_group_not_seen_for_fourteen_days_is_forgotten(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.measure({}, [error("old")]))
    clock.pass_(14 * 24 * HOUR)
    assert ask(database.groups(10)) == []
    ask(database.measure({}, [error("new")]))
    assert ask(database.mute("old", 1)) is False


def test_a_group_is_muted_for_a_while(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.measure({}, [error()]))
    assert ask(database.mute("f", HOUR)) is True
    assert ask(database.groups(1))[0].muted_until == clock.now + HOUR
    ask(database.measure({}, [error()]))
    assert ask(database.groups(1))[0].muted_until == clock.now + HOUR
    assert ask(database.mute("f", 0)) is True
    assert ask(database.groups(1))[0].muted_until == 0
    assert ask(database.mute("nobody", HOUR)) is False


def test_a_quantile_is_at_most_a_fifth_off() -> None:
    durations = [1.2**at for at in range(2, 100)]
    counts: dict[int, int] = {}
    for duration in durations:
        counts[RUN + class_of(duration)] = counts.get(RUN + class_of(duration), 0) + 1
    for part in (0.01, 0.5, 0.95, 0.99, 1.0):
        true = durations[max(0, -(-round(part * 10_000) * len(durations) // 10_000) - 1)]
        found = quantile(counts, RUN, part)
        assert found is not None
        assert abs(found / true - 1) < 0.19
    assert quantile(counts, WAIT, 0.5) is None
    assert class_of(1e12) == class_of(1e20)


def test_the_last_minute_before_a_long_silence_is_in_its_hour(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new()]))
    clock.pass_(3 * 24 * HOUR)
    assert events(database, ask, step=HOUR, number=73)[0] == {0: 1}
    for _ in range(2):
        ask(database.enqueue([new()]))
        clock.pass_(MINUTE)
    hours = events(database, ask, step=HOUR, number=73)
    assert (hours[0], hours[-1]) == ({0: 1}, {0: 2})


def test_depths_are_those_of_the_moment_when_a_minute_began(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.enqueue([new(), new(), new(queue="b")]))
    ask(database.enqueue([new()]))
    clock.pass_(MINUTE)
    ask(database.enqueue([new(), new()]))
    clock.pass_(2 * MINUTE)
    ask(database.enqueue([new(queue="b")]))

    def depths(scope: str = "", step: Any = MINUTE, number: int = 4) -> list[float | None]:
        return [it.depth for it in ask(database.history(step=step, number=number, scope=scope))]

    assert depths() == [3, 6, None, 7]
    assert depths("qmail") == [2, 5, None, 5]
    assert depths("qb") == [1, 1, None, 2]
    assert depths("qnone") == [0, 0, None, 0]
    assert depths(step=HOUR, number=2) == [None, 5.3]
    assert depths("qmail", HOUR, 1) == [4]


def test_a_beat_that_does_duties_begins_a_minute_in_which_nothing_else_is_counted(
    database: Database, ask: Ask, clock: Clock
) -> None:
    ask(database.enqueue([new()]))
    clock.pass_(MINUTE)
    ask(database.heartbeat("w", lease=15_000, info=b"{}"))
    clock.pass_(MINUTE)
    for _ in range(2):
        ask(database.heartbeat("w", lease=15_000, info=b"{}", limit=10))
    found = ask(database.history(step=MINUTE, number=3, scope="qmail"))
    assert [(it.depth, dict(it.events)) for it in found] == [(1, {0: 1}), (None, {}), (1, {})]


def test_the_depths_of_the_hundred_deepest_queues_are_kept(database: Database, ask: Ask) -> None:
    ask(database.enqueue([new(queue=f"q{at:03}") for at in range(103)] + [new(queue="q102")]))
    (bucket,) = ask(database.breakdown(by="queue", step=MINUTE, number=1))
    depths = {name: it.depth for name, it in bucket.scopes.items()}
    assert (depths["q102"], depths["q000"], depths["q098"], depths["q099"]) == (2, 1, 1, 0)


def test_what_is_counted_in_a_minute_that_comes_twice_is_in_its_hour(
    database: Database, ask: Ask, clock: Clock
) -> None:
    for passed, number in ((0, 1), (MINUTE, 2), (-MINUTE, 1), (0, 3), (MINUTE, 1), (0, 7), (MINUTE, 16)):
        clock.pass_(passed)
        ask(database.enqueue([new() for _ in range(number)]))
    assert events(database, ask, number=3) == [{0: 5}, {0: 10}, {0: 16}]
    for scope in ("", "qmail"):
        assert events(database, ask, scope, step=HOUR) == [{0: 31}]
    slices = ask(database.breakdown(by="queue", step=MINUTE, number=3))
    assert [[*it.scopes] for it in slices] == [["mail"]] * 3


def test_a_breakdown_tells_of_each_name_or_queue_what_its_history_does(
    database: Database, ask: Ask, clock: Clock
) -> None:
    told = {"enapp.f": {1: 3, 2: 1}, "hnapp.f": {WAIT: 1, RUN + 7: 3}, "enb": {3: 1}, "hqmail": {RUN: 1}, "h": {RUN: 1}}
    ask(database.enqueue([new(), new(queue="b")]), database.measure(told))
    clock.pass_(MINUTE)
    ask(database.measure({"enb": {1: 1}}))
    steps: list[tuple[Step, int]] = [(MINUTE, 2), (HOUR, 1)]
    kinds: list[tuple[Literal["queue", "name"], list[str]]] = [("name", ["app.f", "b"]), ("queue", ["b", "mail"])]
    for step, number in steps:
        for by, names in kinds:
            slices = ask(database.breakdown(by=by, step=step, number=number))
            for name in names:
                history = ask(database.history(step=step, number=number, scope=f"{by[0]}{name}"))
                known = {it.at: it.scopes[name] for it in slices if name in it.scopes}
                assert {it.at: it for it in history if it.at in known} == known
                assert all(not it.events for it in history if it.at not in known)
    found = [[*it.scopes] for it in ask(database.breakdown(by="name", step=MINUTE, number=3))]
    assert found == [[], ["app.f", "b"], ["b"]]
    assert [it.at for it in ask(database.breakdown(by="name", step=MINUTE, number=2, back=1))] == [NOW - MINUTE, NOW]
