"""The words about uniqueness, deadline and spread, from a definition or an enqueue to what is stored."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from procession import ConfigError, DuplicateJob, Limit, Procession, State, Worker
from procession.enqueuer import TRIP, spread_over


@pytest.fixture
def app(namespace: str) -> Procession:
    return Procession(f"memory://{namespace}", namespace=namespace)


def jids(*handles: Any) -> list[UUID]:
    return [handle.jid for handle in handles]


@pytest.mark.parametrize(
    ("key", "same", "other"),
    [
        (True, [((1,), {"b": "x"}), ((1, "x"), {})], [((1,), {}), ((2, "x"), {})]),
        (True, [((1,), {}), ((1, "z"), {}), ((1,), {"b": "z"})], [((1, "x"), {})]),
        (("a",), [((1, "x"), {}), ((1, "y"), {})], [((2, "x"), {})]),
        (["b"], [((1, "z"), {}), ((2,), {})], [((1, "x"), {})]),
        ("{a}", [((1, "x"), {}), ((1, "y"), {})], [((2, "x"), {})]),
        ("user {a} of {b}", [((1, "z"), {}), ((1,), {})], [((1, "x"), {})]),
        ("one", [((1, "x"), {}), ((2, "y"), {})], []),
    ],
)
def test_what_counts_as_the_same_job(app: Procession, key: Any, same: list[Any], other: list[Any]) -> None:
    @app.job(name="j", unique=key)
    def j(a: int, b: str = "z") -> None: ...

    handles = [j.enqueue(*args, **kwargs) for args, kwargs in same]
    assert [it.duplicate for it in handles] == [False] + [True] * (len(same) - 1)
    assert len(set(jids(*handles))) == 1
    assert handles[0].job().unique
    assert [j.enqueue(*args, **kwargs).duplicate for args, kwargs in other] == [False] * len(other)


def test_equal_arguments_make_the_same_key_however_they_were_written(app: Procession) -> None:
    @app.job(name="j", unique=True, limit=Limit(9, by="rate"))
    def j(users: set[int], rate: float = 1) -> None: ...

    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other), "equal, and in another order, as sets of texts are in every process"
    first, *others = [j.enqueue(*it) for it in ((one,), (other, 1), (one, 1.0), (other, 2), (one, 2.0))]
    assert [it.duplicate for it in others] == [True, True, False, True]
    assert first.job().limit == "j/1.0"
    first.cancel()
    assert not app.retry(first.jid, args={"users": [8, 0], "rate": 2}), "another job holds this key"
    assert app.retry(first.jid, args={"users": [8, 0], "rate": 3})
    assert j.enqueue(one, 3).jid == first.jid


def test_a_set_without_an_order_is_a_key_all_the_same(app: Procession) -> None:
    @app.job(name="j", unique=True)
    def j(mixed: set[int | str]) -> None: ...

    assert [j.enqueue({1, "a"}).duplicate for _ in range(2)] == [False, True]


def test_two_jobs_with_the_same_key_are_two(app: Procession) -> None:
    @app.job(name="one", unique="k")
    def one() -> None: ...

    @app.job(name="two", unique="k")
    def two() -> None: ...

    assert not one.enqueue().duplicate
    assert not two.enqueue().duplicate


def test_a_key_given_at_the_enqueue_is_taken_as_it_stands(app: Procession) -> None:
    @app.job(name="j")
    def j(a: int) -> None: ...

    special = j.using(unique="{a} {")
    assert [special.enqueue(1).duplicate, special.enqueue(2).duplicate] == [False, True]
    assert not j.enqueue(1).duplicate
    assert [j.using(unique=("a",)).enqueue(1).duplicate for _ in range(2)] == [False, True]


def test_an_enqueue_may_lift_or_change_what_the_definition_says(app: Procession) -> None:
    @app.job(name="j", unique=True, conflict="raise")
    def j(a: int) -> None: ...

    first = j.enqueue(1)
    assert not j.using(unique=False).enqueue(1).duplicate
    assert j.using(conflict="keep").enqueue(1).jid == first.jid
    with pytest.raises(DuplicateJob, match=str(first.jid)) as caught:
        j.enqueue(1)
    assert (caught.value.jid, caught.value.stored) == (first.jid, "no")


def test_a_worker_class_takes_the_same_words_and_a_repeat_of_ones_own_jid_is_no_conflict(app: Procession) -> None:
    @app.worker(name="R", unique=("path",), conflict="raise")
    class Resize(Worker):
        def perform(self, path: str, width: int = 1) -> None: ...

    jid = uuid4()
    first = Resize.using(jid=jid).enqueue("a.png")
    assert [first.jid, Resize.using(jid=jid).enqueue("a.png").jid] == [jid, jid]
    with pytest.raises(DuplicateJob):
        Resize.using(jid=uuid4()).enqueue("a.png", width=2)
    with pytest.raises(DuplicateJob):
        app.enqueue_many([Resize.bind("b.png"), Resize.bind("a.png"), Resize.bind("c.png")])
    assert app.counts().queued == 3


def test_of_many_calls_all_but_the_duplicates_are_stored_however_many_trips_they_take(app: Procession) -> None:
    @app.job(name="j", unique=True, conflict="raise")
    def j(a: int) -> None: ...

    there = j.enqueue(0)
    with pytest.raises(DuplicateJob) as caught:
        app.enqueue_many(j.bind(n) for n in range(TRIP + 1))
    assert (caught.value.jid, app.counts().queued) == (there.jid, TRIP + 1)
    with pytest.raises(DuplicateJob):
        asyncio.run(app.enqueue_many_async(j.bind(n) for n in range(TRIP, 2 * TRIP + 1)))
    assert app.counts().queued == 2 * TRIP + 1


def test_debounce_waits_until_it_is_quiet_and_takes_the_last_arguments(app: Procession) -> None:
    @app.job(name="j", unique="reindex", debounce="5s", at_most="1m")
    def j(n: int) -> None: ...

    first, second = j.enqueue(1), j.enqueue(2)
    job = second.job()
    assert (first.jid, first.duplicate, second.duplicate) == (second.jid, False, True)
    assert (job.state, job.args) == (State.DELAYED, {"n": 2})
    assert 0 <= job.due_at - job.enqueued_at - 5_000 < 5_000


def test_throttle_runs_the_first_at_once_and_answers_with_it_for_a_while(app: Procession) -> None:
    @app.job(name="j", unique=("user",), throttle="1m")
    def j(user: str, n: int) -> None: ...

    first, second, other = j.enqueue("ada", 1), j.enqueue("ada", 2), j.enqueue("bob", 1)
    assert (second.jid, second.duplicate, other.duplicate) == (first.jid, True, False)
    assert (first.job().state, first.job().args) == (State.QUEUED, {"user": "ada", "n": 1})
    app.cancel(first.jid)
    assert j.enqueue("ada", 3).duplicate


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unique": "{b}"}, "names 'b', which is no parameter"),
        ({"unique": ("a", "c")}, "names 'c', which is no parameter"),
        ({"unique": "{a"}, "cannot be read"),
        ({"unique": "{a:>9}"}, "write {a} alone"),
        ({"unique": "{a.b}"}, "no parameter"),
        ({"unique": ()}, "must be True, a text"),
        ({"unique": ""}, "must be True, a text"),
        ({"unique": 5}, "must be True, a text"),
        ({"unique": "\ud800"}, "lone surrogate"),
        ({"unique": "x" * 1_001}, "over 1,000 characters"),
        ({"unique": True, "until": "end"}, "until='end' must be one of start, processed, done"),
        ({"unique": True, "conflict": "merge"}, "conflict='merge' must be one of keep, replace, raise"),
        ({"until": "start"}, "say what counts as the same job"),
        ({"throttle": "1m"}, "say what counts as the same job"),
        ({"unique": True, "throttle": "1m", "debounce": "1s"}, "not both"),
        ({"unique": True, "throttle": "1m", "until": "done"}, "leave out until"),
        ({"unique": True, "at_most": "1m"}, "limit of debounce="),
        ({"unique": True, "debounce": "1m", "at_most": "1s"}, "shorter than debounce="),
        ({"unique": True, "unique_for": 0}, "longer than nothing"),
        ({"deadline": "soon"}, "not a duration"),
        ({"deadline": 0}, "deadline=0 must be longer than nothing; leave it out for none"),
        ({"expires": timedelta(0)}, "must be longer than nothing"),
        ({"expires": 0.0004}, "expires=0.0004 must be longer than nothing"),
    ],
)
def test_words_that_cannot_be_kept_are_refused_where_they_are_written(
    app: Procession, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):

        @app.job(name="j", **options)
        def j(a: int) -> None: ...

    @app.job(name="k")
    def k(a: int) -> None: ...

    if "{" not in str(options.get("unique", "")):
        with pytest.raises(ConfigError, match=says):
            k.using(**options).enqueue(1)
    assert app.stats().scheduled == 0


def test_a_moment_before_the_epoch_is_an_expiry_that_is_over_and_not_none(app: Procession) -> None:
    @app.job(name="j")
    def j() -> None: ...

    for year in (1, 1960, 1970):
        assert j.using(expires=datetime(year, 1, 1, tzinfo=UTC)).enqueue().job().expires_at == 1


def test_a_schedule_whose_runs_expire_at_once_is_refused(app: Procession) -> None:
    @app.job(name="j")
    def j() -> None: ...

    for option in ("expires", "deadline"):
        with pytest.raises(ConfigError, match=f"{option}=0 must be longer than nothing"):
            app.schedules.upsert("nightly", j.using(**{option: 0}), every="1h")  # type: ignore[arg-type]


def test_a_key_that_its_arguments_make_too_long_is_refused(app: Procession) -> None:
    @app.job(name="j", unique="{a}")
    def j(a: str) -> None: ...

    with pytest.raises(ConfigError, match="over 1,000 characters; name the arguments"):
        j.enqueue("x" * 1_001)


@pytest.mark.parametrize("word", ["delay", "debounce"])
def test_debounce_and_spread_say_themselves_when_a_job_is_due(app: Procession, word: str) -> None:
    @app.job(name="j", unique=True, debounce="1s")
    def j(n: int) -> None: ...

    with pytest.raises(ConfigError, match="leave out delay= and at="):
        j.using(delay=5).enqueue(1)
    with pytest.raises(ConfigError, match="leave out delay=, at= and debounce="):
        app.enqueue_many([j.using(**{"delay": 1} if word == "delay" else {}).bind(1)], spread="1m")  # type: ignore[typeddict-item]


def test_spread_gives_each_job_its_own_part_of_the_span(app: Procession) -> None:
    @app.job(name="j")
    def j(n: int) -> None: ...

    handles = app.enqueue_many((j.bind(n) for n in range(60)), spread="1m")
    after = [max(it.job().due_at - it.job().enqueued_at, 0) for it in handles]
    assert all(n * 1_000 <= due <= (n + 1) * 1_000 for n, due in enumerate(after))
    assert len({due % 1_000 for due in after}) > 30
    assert app.enqueue_many([], spread="1m") == []
    calls = spread_over([j.bind(0), j.bind(1)], 10, random.Random(1))
    assert [round(call.options["delay"], 2) for call in calls] == [0.67, 9.24]  # type: ignore[arg-type]


def test_a_schedule_of_a_unique_job_is_refused_and_says_what_to_do() -> None:
    app = Procession("memory://scheduled")

    @app.job(name="sync", unique=True)
    def sync(user: int) -> None: ...

    with pytest.raises(ConfigError, match=r"using\(unique=False\).*overlap="):
        app.every("1m", args=[1])(sync)
    assert app.schedules.upsert("sync", sync.using(unique=False).bind(1), every="1m")
    app.schedules.remove("sync")
