"""Joins a script with the part of its helpers that it needs.

A script runs from its first line for each call, so whatever a helper file defines is made anew each time: with all of
them that was a third of an enqueue of one job (bench/PROFILE.md). What is left out or changed here changes nothing
else, because it is decided by names alone, and for too much rather than too little:

- comments go;
- a constant, `local NAME = 1` in capitals that is assigned nowhere else, stands where its name stood;
- a definition whose making does nothing (a function, or an expression without a call) goes when no text that stays
  has its name;
- so do those that only the functions in the header's `seldom` need, until one of these is called.

Helpers keep to one form for it, which tests/unit/test_linking.py checks: statements begin in the first column, and what
is inside of them does not. Called by `scripts.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

_TEXT = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
_TEXTS, _COMMENT = re.compile(_TEXT), re.compile(rf"({_TEXT})|--.*")
_NO_NAMES = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")}
_CAPITALS = re.compile(rf"{_TEXT}|[A-Z](?<!\w.)[A-Z0-9_]*\b")  # with a \b in front it would take twice as long
_GOES_ON = re.compile(r"\s|(?:end|else|elseif|until)\b|[})]")
_DEFINED = re.compile(r"local (?:function (\w+)|(\w+(?:, \w+)*)(?: = |$))")
_ASSIGNED = re.compile(r"^\s*(?:local )?(\w+(?:, \w+)*) =(?!=)|[{,]\s*(\w+) =(?!=)")
_LITERAL = r"\d+|'[^'\\]*'"
_CONSTANTS = re.compile(rf"local ([A-Z][A-Z0-9_]*(?:, [A-Z][A-Z0-9_]*)*) = ((?:{_LITERAL})(?:, (?:{_LITERAL}))*)")


class Statement(NamedTuple):
    """A statement of the outermost level."""

    text: str
    words: frozenset[str]
    """All names in it, and Lua's own words."""
    defines: tuple[str, ...]
    """The local names that it makes."""
    assigns: tuple[str, ...]
    """What it gives a value to, anywhere in it."""
    may_go: bool
    """True when it does nothing but define names: a function, or values without a call."""


def linked(helpers: Sequence[str], source: str, seldom: Sequence[str] = ()) -> str:
    """The text of a script: what it needs of its helpers, and itself; the functions named in `seldom`, and what only
    they need, are made when one of them is first called. Raises ValueError when they cannot be."""
    every = [statement for text in (*helpers, source) for statement in statements(text)]
    constants = _constants(every)
    every = [it for it in every if constants.keys().isdisjoint(it.defines)]
    always = _reached({at for at, it in enumerate(every) if not it.may_go}, every, without=seldom)
    later = _reached({at for at, it in enumerate(every) if not {*seldom}.isdisjoint(it.defines)}, every) - always
    made = {name for at in later for name in every[at].defines}
    early = {word for at in always if at < max(later, default=0) and not every[at].may_go for word in every[at].words}
    if wrong := {name for name in seldom if name not in made or name in early}:
        names = ", ".join(sorted(wrong))
        raise ValueError(f"{names} cannot be made later: there is no such function, or it is called at once")
    text = "\n".join(_laid_out(every, always, later, seldom))
    return _CAPITALS.sub(lambda match: constants.get(match[0], match[0]), text)


@cache
def statements(source: str) -> tuple[Statement, ...]:
    """The outermost statements of a file, without comments and empty lines."""
    found: list[str] = []
    for line in source.splitlines():
        plain = (_COMMENT.sub(r"\1", line) if "--" in line else line).rstrip()
        if found and _GOES_ON.match(plain):
            found[-1] += f"\n{plain}"
        elif plain:
            found.append(plain)
    return tuple(map(_statement, found))


def _statement(text: str) -> Statement:
    code = _TEXTS.sub("", text)
    match = _DEFINED.match(text)
    defines = tuple((match[1] or match[2]).split(", ")) if match else ()
    pairs = [pair for line in code.splitlines() if " = " in line for pair in _ASSIGNED.findall(line)]
    assigns = tuple(name for names, one in pairs for name in (names or one).split(", "))
    may_go = bool(match and (match[1] or "(" not in code))
    return Statement(text, frozenset(code.translate(_NO_NAMES).split()), defines, assigns, may_go)


def _constants(every: Sequence[Statement]) -> dict[str, str]:
    """Names in capitals that one statement makes, each a number or a plain text, and that nothing else assigns."""
    assigned = Counter(name for it in every for name in it.assigns)
    found: dict[str, str] = {}
    for it in every:
        match = _CONSTANTS.fullmatch(it.text) if it.may_go else None
        if match and all(assigned[name] == 1 for name in it.defines):
            found.update(zip(it.defines, re.findall(_LITERAL, match[2]), strict=True))
    return found


def _reached(roots: set[int], every: Sequence[Statement], without: Sequence[str] = ()) -> set[int]:
    """The positions of some statements and of what they name, and so on; names in `without` lead nowhere."""
    found, new = set(roots), roots
    while new:
        words = {word for at in new for word in every[at].words}.difference(without)
        new = {at for at, it in enumerate(every) if at not in found and not words.isdisjoint(it.defines)}
        found |= new
    return found


def _laid_out(every: Sequence[Statement], always: set[int], later: set[int], seldom: Sequence[str]) -> Iterator[str]:
    """All in their order. A function that is made later is a variable until then; its first call makes it."""
    for at, it in enumerate(every):
        if later and at == min(later):
            yield f"local make_later, {', '.join(seldom)}"
            yield from (f"function {name}(...) make_later() return {name}(...) end" for name in seldom)
        if at in always:
            yield it.text
        if later and at == max(later):
            yield "function make_later()"
            for text, defines in ((every[made].text, every[made].defines) for made in sorted(later)):
                yield text if {*seldom}.isdisjoint(defines) else text.removeprefix("local ")
            yield "end"
