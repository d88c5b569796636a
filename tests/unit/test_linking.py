"""Scripts get of their helpers what they need, and mean the same."""

from __future__ import annotations

import pytest

from procession.database.redis.linking import linked, statements
from procession.database.redis.scripts import LUA, names, script

HELPERS = sorted(entry.name for entry in (LUA / "lib").iterdir())


def test_what_nobody_names_goes_and_what_is_named_through_others_stays() -> None:
    needed = "local function inner() return 1 end\nlocal function outer() return inner() end\n"
    assert linked([needed, "local function other() end\n"], "return outer()") == f"{needed}return outer()"


def test_a_value_that_is_asked_of_the_server_is_asked_whoever_names_it() -> None:
    asked = "local clock = redis.call('TIME')"
    assert linked([asked], "return 1") == f"{asked}\nreturn 1"


def test_a_constant_stands_where_its_name_stood_but_not_in_texts_and_comments() -> None:
    helpers = "local ONE, TEXT = 1, 'ONE'  -- ONE\n"
    assert linked([helpers], "return ONE .. 'ONE' .. TEXT") == "return 1 .. 'ONE' .. 'ONE'"
    assert linked([helpers], "return theONE .. ONE_ .. ONE") == "return theONE .. ONE_ .. 1"


@pytest.mark.parametrize("other", ["ONE = 2", "local ONE, two = 2, 3", "local t = {ONE = 2}", "local ONE = f()"])
def test_a_name_that_is_assigned_twice_is_no_constant(other: str) -> None:
    assert "local ONE = 1" in linked(["local ONE = 1\n"], f"{other}\nreturn ONE")


def test_what_is_seldom_needed_is_made_once_at_its_first_call_with_all_that_only_it_needs() -> None:
    helpers = "local seen = {}\nlocal function deep(a) seen[a] = true end\nlocal function rare(a) deep(a) end\n"
    text = linked([helpers], "if KEYS[2] then rare(1) end\nreturn 0", ["rare"])
    before, made = text.split("function make_later()\n")
    assert "function rare(...) make_later() return rare(...) end" in before
    assert made.startswith(f"{helpers.replace('local function rare', 'function rare')}end\n")


def test_what_others_need_too_is_not_made_later() -> None:
    helpers = "local function shared() end\nlocal function rare() shared() end\n"
    before, _ = linked([helpers], "shared()\nif KEYS[2] then rare() end", ["rare"]).split("function make_later()")
    assert "local function shared() end" in before


@pytest.mark.parametrize("source", ["return 1", "local function rare() end\nrare()\nlocal function late() end\nlate()"])
def test_a_function_that_cannot_be_made_later_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="cannot be made later"):
        linked([], source, ["rare", "late"])


def test_helpers_only_define_in_the_form_that_linking_reads() -> None:
    for helper in HELPERS:
        for statement in statements((LUA / "lib" / helper).read_text("utf-8")):
            goes_first = statement.text.startswith(("if clock then ", "if #jobs == 6 ", "if #last_claim > 4 "))
            assert statement.defines or goes_first, f"{helper}: {statement.text[:60]}"


def test_every_name_in_capitals_that_a_script_uses_is_defined_in_it() -> None:
    for verb in names():
        known = {"T", "KEYS", "ARGV"}
        for statement in statements(script(verb).text):
            known.update(statement.defines)
            used = {word for word in statement.words if word.isupper()} | ({"make_later"} & statement.words)
            assert used <= known, f"{verb}: {statement.text[:60]}"
