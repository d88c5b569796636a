"""The words about limits, from a definition or an enqueue to what is stored; what cannot be kept is refused there."""

from __future__ import annotations

from typing import Any

import pytest

from procession import ConfigError, Encrypted, Limit, Procession, Worker


@pytest.fixture
def app(namespace: str) -> Procession:
    return Procession(f"memory://{namespace}", namespace=namespace)


def states(*handles: Any) -> str:
    return "".join(handle.job().state.value[0] for handle in handles)


@pytest.mark.parametrize(
    ("by", "same", "other", "text"),
    [
        (None, [(1,), (2, "y")], [], "j"),
        ("a", [(1, "x"), (1, "y")], [(2,)], "j/1"),
        ("b", [(1,), (2, "z")], [(1, "x")], "j/z"),
        (("a", "b"), [(1,), (1, "z")], [(1, "x"), (2,)], 'j/[1,"z"]'),
        (["a"], [(1,), (1, "x")], [(2,)], "j/[1]"),
        ("user {a} of {b}", [(1,), (1, "z")], [(1, "x")], "j/user 1 of z"),
    ],
)
def test_what_comes_under_one_limit(app: Procession, by: Any, same: list[Any], other: list[Any], text: str) -> None:
    @app.job(name="j", limit=Limit(1, by=by))
    def j(a: int, b: str = "z") -> None: ...

    handles = [j.enqueue(*args) for args in same]
    assert states(*handles) == "qb"
    assert {handle.job().limit for handle in handles} == {text}
    assert states(*(j.enqueue(*args) for args in other)) == "q" * len(other)


def test_a_limit_is_that_of_the_job_unless_it_has_a_name_that_others_share(app: Procession) -> None:
    @app.job(name="one", limit=Limit(1))
    def one() -> None: ...

    @app.job(name="two", limit=Limit(1))
    def two() -> None: ...

    @app.worker(name="three", limit=Limit(1, name="one"))
    class Three(Worker):
        def perform(self, a: int) -> None: ...

    assert states(one.enqueue(), two.enqueue(), Three.enqueue(1)) == "qqb"


def test_an_enqueue_may_come_under_another_limit_or_none(app: Procession) -> None:
    @app.job(name="j", limit=Limit(1, by="a"))
    def j(a: int) -> None: ...

    handles = [j.using(limit=limit).enqueue(1) for limit in (None, Limit(1), Limit(1, name="x", by="a"), None, False)]
    assert states(*handles) == "qqqbq"
    assert [handle.job().limit for handle in handles] == ["j/1", "j", "x/1", "j/1", ""]


def test_the_runs_of_a_schedule_come_under_the_limit_of_their_job(app: Procession) -> None:
    @app.every("1m", kwargs={"a": 7})
    @app.job(name="j", limit=Limit(2, by="a"))
    def j(a: int) -> None: ...

    (declared,) = app.schedules.declared.values()
    assert (declared.limit, declared.slots) == ("j/7", 2)
    assert declared.run(0).slot == j.bind(7).registered.limit.slot("j/7")  # type: ignore[union-attr]


def test_with_a_codec_chain_nobody_reads_the_limit_without_the_key(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace, codec=[Encrypted([Encrypted.new_key()])])

    @app.every("1m", kwargs={"who": "ada"})
    @app.job(name="j", limit=Limit(1, by="who"))
    def j(who: str) -> None: ...

    first, second = j.enqueue("ada"), j.enqueue("ada")
    assert (states(first, second), second.job().limit) == ("qb", "j/ada")
    stored = app.ask(app.database.find([second.jid]))[0]
    assert stored is not None
    assert "ada" not in stored.limit
    assert "the limit (sealed)" in app.why(second.jid).text
    assert app.schedules.upsert("by hand", j.bind("ada"), every="1m")
    assert not app.schedules.upsert("by hand", j.bind("ada"), every="1m"), "sealed anew, it says the same"
    (info,) = app.ask(app.database.schedules()).schedules
    assert b"ada" not in info.asked
    run = app.find_job(app.schedules.run_now("by hand"))
    assert run is not None
    assert (run.limit, run.state.value) == ("j/ada", "blocked")


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        (lambda: Limit(0), "at least 1 job"),
        (lambda: Limit(-1), "pause a queue"),
        (lambda: Limit(True), "at least 1 job"),
        (lambda: Limit(1.5), "at least 1 job"),  # type: ignore[arg-type]
        (lambda: Limit(10**9), "at most 1,000,000"),
        (lambda: Limit(1, by=()), "must name an argument"),
        (lambda: Limit(1, by=7), "must name an argument"),  # type: ignore[arg-type]
        (lambda: Limit(1, by=("a", 7)), "must name an argument"),  # type: ignore[arg-type]
        (lambda: Limit(1, name=""), "1 to 200 printable"),
        (lambda: Limit(1, name="a\nb"), "1 to 200 printable"),
        (lambda: Limit(1, by="c"), "'c', which is no parameter of .*; for a text as it is, use name="),
        (lambda: Limit(1, by=("a", "c")), "which is no parameter"),
        (lambda: Limit(1, by="{c}"), "which is no parameter"),
        (lambda: Limit(1, by="{a"), "cannot be read as a text"),
        (lambda: Limit(1, by="{a:03d}"), "without a format"),
        (lambda: 3, "must be a Limit"),
        (lambda: True, "must be a Limit"),
    ],
)
def test_what_cannot_be_kept_is_refused_where_it_is_written(app: Procession, limit: Any, why: str) -> None:
    def j(a: int, b: str = "z") -> None: ...

    with pytest.raises(ConfigError, match=why):
        app.job(name="j", limit=limit())(j)
    defined = app.job(name="j")(j)
    with pytest.raises(ConfigError, match=why):
        defined.using(limit=limit()).enqueue(1)


def test_a_value_that_is_too_long_to_be_named_is_refused_at_the_enqueue(app: Procession) -> None:
    @app.job(name="j", limit=Limit(1, by="text"))
    def j(text: str) -> None: ...

    with pytest.raises(ConfigError, match="over 1,000 characters; name fewer arguments"):
        j.enqueue("x" * 1_001)
