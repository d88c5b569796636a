"""Which failures are one error."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from procession.failure import failure_of
from procession.fingerprint import MESSAGE_KEPT, fingerprint, normalised, place
from procession.job import Failure


def failure(message: str = "no", kind: str = "ValueError", where: str = "app:f") -> Failure:
    return Failure(attempt=1, type=kind, message=message, where=where)


@pytest.mark.parametrize(
    ("message", "bare"),
    [
        ("user 17 has no 'mail'", "user <number> has no <text>"),
        ("job 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b is gone", "job <number> is gone"),
        ("<object at 0x7f21a0>", "<object at <number>>"),
        ("commit 3f2a9bc is bad", "commit <number> is bad"),
        ('it says "a \\" b" twice', "it says <text> twice"),
        ("took 1.25 s at 10:32:07", "took <number> s at <number>"),
        ("don't do that", "don't do that"),
        ("decade after decade", "decade after decade"),
        ("", ""),
    ],
)
def test_values_are_taken_out_of_a_message(message: str, bare: str) -> None:
    assert normalised(message) == bare


@given(st.integers(0), st.integers(0), st.uuids(), st.uuids())
@example(1, 10**31, UUID(int=10), UUID(int=11 << 64))
def test_failures_that_differ_in_numbers_and_ids_are_one_error(one: int, two: int, a: UUID, b: UUID) -> None:
    left, right = f"row {one} of {a}: {a.hex}", f"row {two} of {b}: {b.hex}"
    assert fingerprint(failure(left)) == fingerprint(failure(right))


@given(st.text())
def test_any_message_has_a_bounded_form_and_a_fingerprint(message: str) -> None:
    assert len(normalised(message)) <= MESSAGE_KEPT
    assert len(fingerprint(failure(message))) == 16
    assert not any(letter in "0123456789" for letter in normalised(message))


@given(st.text(alphabet=st.characters(exclude_characters='"\\\n', exclude_categories=["Cs"]), max_size=400))
def test_what_is_quoted_does_not_matter(text: str) -> None:
    assert normalised(f'cannot read "{text}"') == "cannot read <text>"


def test_class_message_and_place_each_tell_errors_apart() -> None:
    kinds = [failure(), failure("other"), failure(kind="KeyError"), failure(where="app:g")]
    assert len({fingerprint(it) for it in kinds}) == 4


def test_the_place_is_the_innermost_frame_of_the_application() -> None:
    def reads() -> None:
        json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught:
        reads()
    found = failure_of(caught.value, attempt=1)
    assert found.where == f"{__name__}:test_the_place_is_the_innermost_frame_of_the_application.<locals>.reads"
    assert place(None) == ""


def test_without_a_frame_of_the_application_the_innermost_of_all_is_the_place() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert caught.value.__traceback__ is not None
    assert place(caught.value.__traceback__.tb_next).startswith("json")
