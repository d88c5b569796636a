"""The filter language: what is written reads as the same tree, mistakes are named, and a tree means what it says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession import matching, query
from procession.errors import FilterError
from procession.job import Failure, Job, State, new_jid
from procession.matching import matches, queue_of, states_of
from procession.query import EVERYTHING, Compare, Either, Every, Filter, Not, Term, Text, parse

NOW = 1_800_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000

words = st.text(min_size=1, max_size=12)
terms = st.one_of(
    st.builds(Text, words),
    st.builds(
        Term,
        st.sampled_from(["queue", "job", "tag", "error", "worker", "reason", "jid", "args.user.id", "args.a-b.0"]),
        st.lists(words, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Term, st.just("state"), st.lists(st.sampled_from([*query.STATES]), min_size=1, max_size=3).map(tuple)),
    st.builds(Term, st.just("attempt"), st.integers(0, 99).map(lambda it: (str(it),))),
    st.builds(Term, st.sampled_from(["since", "before"]), st.sampled_from(["2h", "2026-11-20"]).map(lambda it: (it,))),
    st.builds(Compare, st.sampled_from(["attempt", "priority", "args.n"]), st.sampled_from([*matching.SIGNS]),
              st.integers(-9, 99).map(str)),
    st.builds(Compare, st.sampled_from(["ran", "waited"]), st.sampled_from([*matching.SIGNS]),
              st.sampled_from(["30s", "1h30m"])),
)  # fmt: skip
trees = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Every, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Either, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def job(**fields: Any) -> Job:
    given = {"name": "shop.send", "args": {"user": {"id": 5}, "to": ["ada", "eve"]}, "queue": "mail"}
    times = {"enqueued_at": NOW - HOUR}
    return Job(**{"jid": new_jid(), "state": State.QUEUED, **given, **times, **fields})


@settings(deadline=None)
@given(trees)
def test_a_written_tree_reads_as_the_same_tree(tree: Filter) -> None:
    if len(str(tree)) <= query.LONGEST:
        assert parse(str(tree)) == tree


@settings(deadline=None)
@given(st.text(alphabet='ab:"\\()-,*<>= ORANDT.5hstaequ', max_size=60))
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as error:
        wrong = error
    else:
        assert parse(str(tree)) == tree
        return
    assert 0 <= wrong.position <= len(text)
    assert text[wrong.position :].startswith(wrong.token)


@settings(deadline=None)
@given(trees)
def test_a_job_that_passes_is_in_one_of_the_states_to_look_into(tree: Filter) -> None:
    for state in State:
        for attempt in (0, 2):
            it = job(state=state, attempt=attempt, start_at=NOW - SECOND, finish_at=NOW)
            if matches(tree, it, NOW):
                assert state in states_of(tree)
                assert queue_of(tree) in (None, it.queue)
            assert matches(Not(tree), it, NOW) is not matches(tree, it, NOW)


@pytest.mark.parametrize(
    ("text", "token", "position", "says"),
    [
        ("state:bad", "state:bad", 0, "the states are queued"),
        ("queue:mail sate:failed", "sate:failed", 11, "there is no sate: here"),
        ("a OR", "", 4, "a condition is missing"),
        ("()", ")", 1, "a condition is missing"),
        ("a (b", "(", 2, "close it with )"),
        ("a)", ")", 1, "closes nothing"),
        ('say "hello', '"hello', 4, "a quote is still open"),
        ("- queue:low", "-", 0, "right before what it turns round"),
        ("a NOT queue:mail", "NOT", 2, "write -queue:mail"),
        ("queue:", "queue:", 0, "a value is missing"),
        ("attempt:many", "attempt:many", 0, "write attempt:>3"),
        ("ran:30s", "ran:30s", 0, "write ran:>30s"),
        ("ran:>30x", "ran:>30x", 0, "is not a duration"),
        ("since:2026", "since:2026", 0, "since:2026-11-20"),
        ("since:yesterday", "since:yesterday", 0, "since:2026-11-20"),
        ("http://x", "http://x", 0, "put it in quotes"),
        ("-" * 17 + "a", "-", 16, "deeper than 16"),
        ("a " * 65, "a", 128, "at most 64 conditions"),
        ("a" * 2_001, "a" * 20, 0, "at most 2,000 characters"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_would_be_right(
    text: str, token: str, position: int, says: str
) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert (caught.value.token, caught.value.position) == (token, position)
    assert says in str(caught.value)


FAILED = job(
    state=State.FAILED, attempt=4, start_at=NOW - MINUTE, finish_at=NOW - 10 * SECOND, worker="host:3", tags=("eu",),
    failures=(Failure(attempt=4, type="CardDeclined", module="shop", message="No Route to bank"),), reason="exhausted",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "state:failed", "state:retrying,failed", "queue:mail,low", "queue:m*", "job:shop.send", "job:send",
        "job:shop.*", "tag:eu", "tag:e*", "error:CardDeclined", "error:shop.CardDeclined", "worker:host:*",
        "reason:exhausted", "args.user.id:5", "args.user.id:>4", "args.to.1:eve", "attempt:>3", "attempt:4",
        "attempt:1,4", "ran:>49s", "ran:>49", "ran:<=50s", "waited:>58m", "since:1m", "before:2030-01-01", "-queue:low",
        "-before:5m", "(queue:low OR tag:eu)", '"no route"', "ada", "CARDDECLINED", "a AND d", "priority:<1",
    ],
)  # fmt: skip
def test_a_failed_job_passes(text: str) -> None:
    assert matches(parse(text), FAILED, NOW)
    assert not matches(Not(parse(text)), FAILED, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "state:queued", "state:retrying", "queue:mai", "queue:low", "job:charge_*", "tag:us", "error:Card",
        "args.user.id:6", "args.user.id:>5", "args.none:5", "args.to.2:x", "attempt:>4", "ran:>50s", "since:5s",
        "before:5m", "-state:failed", "absent", "queue:mail queue:low", "crashes:>0", "args.to:>1",
    ],
)  # fmt: skip
def test_a_failed_job_does_not_pass(text: str) -> None:
    assert not matches(parse(text), FAILED, NOW)


@settings(deadline=None)
@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=12))
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    wanted = re.fullmatch(".*".join(pattern.split("*")), text) is not None
    assert matching.fits(text, pattern.split("*")) is wanted


def test_many_stars_cost_no_more_than_looking_once() -> None:
    tree = parse(f"args.x:{'*a' * 500}*b")
    assert not matches(tree, job(args={"x": "a" * 250_000}), NOW)


def test_retrying_is_delayed_after_an_attempt() -> None:
    tree = parse("state:retrying")
    assert matches(tree, job(state=State.DELAYED, attempt=1), NOW)
    assert not matches(tree, job(state=State.DELAYED), NOW)


def test_what_never_ran_has_no_run_time_and_waits_until_now() -> None:
    assert not matches(parse("ran:>=0s"), job(), NOW)
    assert matches(parse("waited:>=1h"), job(), NOW)
    assert not matches(parse("waited:>1h"), job(), NOW)


def test_what_was_cancelled_before_its_next_attempt_ran_until_it_failed() -> None:
    failed = Failure(attempt=1, type="E", message="", at=NOW - HOUR + SECOND)
    cancelled = job(
        state=State.CANCELLED, attempt=1, start_at=NOW - HOUR, finish_at=NOW - MINUTE, failures=(failed,)
    )
    assert matches(parse("ran:>=1s ran:<=1s"), cancelled, NOW)
    put_off = job(state=State.CANCELLED, attempt=0, start_at=NOW - HOUR, finish_at=NOW - MINUTE)
    assert not matches(parse("ran:>=0s"), put_off, NOW)


def test_only_the_states_that_a_filter_leaves_open_are_looked_into() -> None:
    assert states_of(parse("state:failed,retrying queue:mail")) == {State.FAILED, State.DELAYED}
    assert states_of(parse("(state:failed OR state:running) -state:running")) == {State.FAILED}
    assert states_of(parse("state:failed OR queue:mail")) == frozenset(State)
    assert states_of(EVERYTHING) == frozenset(State)
    assert queue_of(parse("queue:mail a")) == "mail"
    assert [queue_of(parse(it)) for it in ("queue:m*", "queue:a,b", "a", "-queue:a", "queue:a OR b")] == [None] * 5


def test_the_examples_in_the_docstrings_are_true() -> None:
    from procession import why

    for module in (query, why):
        assert doctest.testmod(module).failed == 0


def test_the_example_of_the_page_says_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "finding.md").read_text("utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    exec(compile(example, "finding.md", "exec"), {"__name__": "example"})
    printed = [line.split("# ")[1] for line in example.splitlines() if line.startswith("print(")]
    assert capsys.readouterr().out.splitlines() == printed
