"""Calls, results and errors to JSON and back."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession import BadArguments, NotEncodable, TooLarge
from procession.codec import Signature


class Colour(Enum):
    RED = "red"


@dataclass
class User:
    name: str
    born: datetime


class Point(msgspec.Struct):
    x: int
    tags: set[str]


class Model(pydantic.BaseModel):
    a: int
    when: datetime


def typed(
    moment: datetime,
    day: date,
    span: timedelta,
    uid: UUID,
    money: Decimal,
    raw: bytes,
    colour: Colour,
    user: User,
    point: Point,
    model: Model,
    names: frozenset[str],
    pair: tuple[int, str],
    many: list[tuple[int, ...]],
    maybe: int | None = None,
) -> None: ...


def plain(to: str, n: int = 0, *rest: int, flag: bool = False, **options: Any) -> Any: ...


def test_every_kind_of_value_comes_back_by_its_annotation() -> None:
    now = datetime.now(timezone(timedelta(hours=2)))
    args = (
        now, date(2026, 1, 2), timedelta(seconds=1.5), UUID(int=7), Decimal("1.10"), b"\x00\xff", Colour.RED,
        User("ada", now), Point(1, {"a"}), Model(a=1, when=now), frozenset({"x"}), (1, "b"), [(1, 2), ()],
    )  # fmt: skip
    signature = Signature.of(typed)
    assert signature.decode(signature.encode(args, {})) == (args, {})


words = st.text('aé∀ \n"\\\\', max_size=4)


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    to=words,
    n=st.integers(-(2**63), 2**63 - 1),
    rest=st.lists(st.integers(-(2**53), 2**53), max_size=3),
    options=st.dictionaries(
        st.sampled_from(["self", "name", "jid", "args", "x"]),
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.lists(words, max_size=3),
    ),
)
def test_plain_values_make_the_round_trip_exactly(to: str, n: int, rest: list[int], options: dict[str, Any]) -> None:
    signature = Signature.of(plain)
    assert signature.decode(signature.encode((to, n, *rest), options)) == ((to, n, *rest), options)


def measured(declared: float, anything: Any = None) -> float: ...


@settings(deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_as_the_same_float(number: float) -> None:
    signature = Signature.of(measured)
    args, _ = signature.decode(signature.encode((number, number), {}))
    came = (*args, signature.decode_result(signature.encode_result(number)))
    assert [it.hex() for it in came] == [number.hex()] * 3


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_float_that_json_does_not_have_is_refused(number: float) -> None:
    signature = Signature.of(measured)
    for args in ((number,), (1.0, number)):
        with pytest.raises(NotEncodable, match="args"):
            signature.encode(args, {})
    with pytest.raises(NotEncodable, match="result"):
        signature.encode_result(number)


def test_an_int_beyond_64_bits_comes_back_or_is_refused() -> None:
    signature = Signature.of(plain)
    for number in (2**53 + 1, 2**63, 10**30, -(10**30)):
        raw = signature.encode(("a", number), {})
        assert signature.decode(raw)[0] == ("a", number)


def test_defaults_that_were_not_given_are_left_to_the_code_that_runs() -> None:
    signature = Signature.of(plain)
    assert signature.encode(("a",), {}) == b'{"to":"a"}'
    assert signature.encode((), {"to": "a", "flag": True}) == b'{"to":"a","flag":true}'
    assert signature.decode(b'{"to":"a","flag":true}') == (("a",), {"flag": True})


def placed(a: int, b: int = 7, /, c: int = 8, *rest: int, d: int = 9) -> tuple[int, ...]:
    return a, b, c, *rest, d


@pytest.mark.parametrize(
    ("raw", "called"),
    [
        (b'{"a":1}', (1, 7, 8, 9)),
        (b'{"a":1,"c":3}', (1, 7, 3, 9)),
        (b'{"a":1,"b":2,"rest":[]}', (1, 2, 8, 9)),
        (b'{"a":1,"rest":[4,5]}', (1, 7, 8, 4, 5, 9)),
        (b'{"a":1,"c":3,"rest":[4],"d":5}', (1, 7, 3, 4, 5)),
    ],
)
def test_an_argument_that_was_left_out_keeps_its_place_and_its_default(raw: bytes, called: tuple[int, ...]) -> None:
    args, kwargs = Signature.of(placed).decode(raw)
    assert placed(*args, **kwargs) == called
    assert Signature.of(lambda a=1, b=2, /: None).decode(b'{"b":[]}') == ((1, []), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "missing a required argument: 'to'"),
        (("a", "b"), {}, "args.n"),
        ((1,), {}, "args.to"),
        (("a", 1, "x"), {}, "args.rest"),
        (("a",), {"to": "b"}, "multiple values"),
        (("a", None), {}, "args.n"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_place(args: tuple[Any, ...], kwargs: Any, says: str) -> None:
    with pytest.raises(BadArguments) as refusal:
        Signature.of(plain).encode(args, kwargs)
    assert says in str(refusal.value)
    assert "plain(" in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ((1, 2), "args.options.v"),
        ({"a": {"b": [0, {1, 2}]}}, "args.options.v.a.b[1]"),
        (math.nan, "args.options.v"),
        ([math.inf], "args.options.v[0]"),
        (datetime.now(UTC), "args.options.v"),
        ({"a": datetime(2026, 1, 1)}, "args.options.v.a"),
        (Decimal(1), "args.options.v"),
        ({1: 2}, "args.options.v"),
        ("\ud800", "args.options.v"),
        ([object()], "args.options.v[0]"),
        (Colour.RED, "args.options.v"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(NotEncodable) as refusal:
        Signature.of(plain).encode(("a",), {"v": value})
    assert refusal.value.path == path
    assert refusal.value.stored == "no"
    assert path in str(refusal.value)


def test_naive_datetimes_are_refused_even_where_a_datetime_is_declared() -> None:
    def at(moment: datetime) -> None: ...

    with pytest.raises(NotEncodable, match="without a time zone"):
        Signature.of(at).encode((datetime(2026, 1, 1),), {})


class Inner(pydantic.BaseModel):
    z: int = pydantic.Field(alias="theZ")


class Strange(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    a: int = pydantic.Field(alias="theA")
    b: int = pydantic.Field(default=2, serialization_alias="outside")
    when: datetime
    inner: Inner
    many: set[int] = {1}

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return self.a * 2


def test_a_model_comes_back_whatever_its_aliases_its_strictness_and_its_computed_fields() -> None:
    def job(value: Strange) -> Strange: ...  # type: ignore[empty-body]

    job.__annotations__ |= {"value": Strange, "return": Strange}
    signature = Signature.of(job)
    value = Strange.model_validate({"theA": 1, "b": 3, "when": datetime.now(UTC), "inner": Inner(theZ=4)})
    assert signature.decode(signature.encode((value,), {})) == ((value,), {})
    assert signature.decode_result(signature.encode_result(value)) == value
    outside = {"theA": 1, "when": value.when.isoformat(), "inner": {"theZ": 4}}
    assert signature.decode(msgspec.json.encode({"value": outside})) == ((value.model_copy(update={"b": 2}),), {})


def test_object_takes_what_json_holds() -> None:
    def job(one: object, many: dict[str, object], maybe: object = None) -> list[object]: ...  # type: ignore[empty-body]

    signature = Signature.of(job)
    args = ([1, {"a": None}], {"x": "y", "z": [1.5]})
    assert signature.decode(signature.encode(args, {})) == (args, {})
    assert signature.decode_result(signature.encode_result([1, "a"])) == [1, "a"]
    with pytest.raises(NotEncodable, match=r"args\.many\.x is a tuple"):
        signature.encode((1, {"x": (1, 2)}), {})


@pytest.mark.parametrize(("kind", "value"), [(Iterable[int], [1]), (OrderedDict, OrderedDict(a=1)), (Iterator, None)])
def test_an_annotation_that_nothing_can_be_read_for_says_what_to_write(kind: Any, value: Any) -> None:
    def job(value: Any = None) -> Any: ...

    job.__annotations__ |= {"value": kind, "return": kind}
    signature = Signature.of(job)
    assert signature.encode((), {}) == b"{}"
    with pytest.raises(NotEncodable, match="annotate it as a list, a dict"):
        signature.encode((value,), {})
    if value is not None:
        with pytest.raises(NotEncodable, match="annotate it as a list, a dict"):
            signature.encode_result(value)
    with pytest.raises(BadArguments, match="annotate it as a list, a dict"):
        signature.decode_result(b"[1]")


PARIS = ZoneInfo("Europe/Paris")
TWICE = datetime(2026, 10, 25, 2, 30, tzinfo=PARIS)
CHANGES = [TWICE, TWICE.replace(fold=1), datetime(2026, 3, 29, 2, 30, tzinfo=PARIS)]


@attrs.define(eq=False)
class Noted:
    when: list[datetime]


@pytest.mark.parametrize("moment", CHANGES, ids=["first", "second", "skipped"])
def test_a_moment_at_which_clocks_change_comes_back_as_the_same_moment(moment: datetime) -> None:
    for kind, value in {
        datetime: moment,
        list[datetime]: [moment],
        frozenset[datetime]: frozenset({moment}),
        dict[datetime, int]: {moment: 1},
        User: User("ada", moment),
        Model: Model(a=1, when=moment),
        Noted: Noted([moment]),
    }.items():

        def job(value: Any) -> Any: ...

        job.__annotations__ |= {"value": kind, "return": kind}
        signature = Signature.of(job)
        raw = signature.encode((value,), {})
        assert raw == b'{"value":%s}' % signature.encode_result(value)
        assert signature.encode(*signature.decode(raw)) == raw
    assert Signature.of(job).encode((Noted([moment.astimezone(UTC)]),), {}) != raw


def test_what_an_object_leaves_out_of_its_json_is_refused_with_its_path() -> None:
    class Closed(pydantic.BaseModel):
        secret: pydantic.SecretStr = pydantic.SecretStr("")
        left: str = pydantic.Field(default="", exclude=True)
        _own: int = 0

    def job(value: Closed) -> None: ...

    job.__annotations__["value"] = Closed
    own = Closed()
    own._own = 5
    secret = Closed(secret=pydantic.SecretStr("4111"))
    for name, value in {"secret": secret, "left": Closed(left="x"), "_own": own}.items():
        with pytest.raises(NotEncodable) as refusal:
            Signature.of(job).encode((value,), {})
        assert refusal.value.path == f"args.value.{name}"
    assert Signature.of(job).encode((Closed(),), {})


def test_size_and_depth_are_bounded() -> None:
    signature = Signature.of(plain)
    with pytest.raises(TooLarge, match="262,144 are allowed"):
        signature.encode(("a" * 300_000,), {})
    deep: list[Any] = []
    for _ in range(70):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)
    for value in (deep, circle):
        with pytest.raises(TooLarge, match="64 levels"):
            signature.encode(("a",), {"v": value})


NO_LONGER_FIT = {
    "none": b'{"n":1}',
    "one too many": b'{"to":"a","gone":1}',
    "of another type": b'{"to":1}',
    "a list": b"[]",
    "no JSON": b"not json",
    "nested deeply": b'{"to":"a","options":{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
}


@pytest.mark.parametrize("what", NO_LONGER_FIT)
def test_stored_arguments_that_no_longer_fit_say_so(what: str) -> None:
    with pytest.raises(BadArguments, match="no longer fit plain"):
        Signature.of(plain).decode(NO_LONGER_FIT[what])


def test_results_are_checked_against_what_is_declared() -> None:
    def declared() -> dict[str, int]: ...  # type: ignore[empty-body]

    signature = Signature.of(declared)
    assert signature.decode_result(signature.encode_result({"a": 1})) == {"a": 1}
    assert signature.encode_result(None) == b"null"
    with pytest.raises(NotEncodable, match="not what it declares"):
        signature.encode_result("text")
    with pytest.raises(NotEncodable):
        signature.encode_result(object())
    with pytest.raises(TooLarge):
        Signature.of(plain).encode_result("a" * 300_000)


def test_what_has_an_answer_to_every_name_is_no_dataclass() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> Proxy:
            if name == "model_dump":
                raise AttributeError(name)
            return self

    with pytest.raises(NotEncodable, match="Proxy"):
        Signature.of(plain).encode_result([Proxy()])
