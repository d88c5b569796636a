"""The filter language for jobs: `state:failed queue:billing -tag:eu (job:charge_* OR "card declined")` as a tree.

One language for the command line, the API and the pages. `parse` reads text, `str` of a tree writes it again so that
it reads as the same tree. What a tree means for a job is in `matching.py`; the walk over a store is in `search.py`.
Nothing here knows a clock or a store.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from msgspec import Struct

from procession.clock import milliseconds
from procession.errors import ConfigError, FilterError
from procession.job import State

LONGEST = 2_000
"""Most characters of a filter."""
MOST_TERMS = 64
"""Most conditions of a filter."""
DEEPEST = 16
"""How deep parentheses and negations may be nested."""

STATES: dict[str, frozenset[State]] = {
    **{state.value: frozenset({state}) for state in State},
    "retrying": frozenset({State.DELAYED}),
    "scheduled": frozenset({State.QUEUED, State.DELAYED, State.BLOCKED}),
}
"""What `state:` takes, and the states in which such jobs are."""
WORDS = ("state", "queue", "job", "tag", "error", "worker", "reason", "jid")
NUMBERS = ("attempt", "crashes", "priority")
DURATIONS = ("ran", "waited")
MOMENTS = ("since", "before")
KEYS = (*WORDS, "args.…", *NUMBERS, *DURATIONS, *MOMENTS)


class Filter(Struct, frozen=True):
    """A filter, or a part of one. `str` writes it as `parse` reads it."""


class Text(Filter, frozen=True):
    """Jobs in which this text is found, in whatever case: in name, jid, queue, tags, arguments, error or reason."""

    text: str

    def __str__(self) -> str:
        bare = re.fullmatch(_BARE_TEXT, self.text) and self.text not in ("OR", "AND", "NOT")
        return self.text if bare else _quoted(self.text)


class Term(Filter, frozen=True):
    """Jobs of which `key` is one of `values`; `*` in a value stands for any characters."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}:{','.join(it if re.fullmatch(_BARE_VALUE, it) else _quoted(it) for it in self.values)}"


class Compare(Filter, frozen=True):
    """Jobs of which the number or duration `key` lies on one side of `value`."""

    key: str
    sign: str
    """One of `>`, `>=`, `<`, `<=`."""
    value: str

    def __str__(self) -> str:
        return f"{self.key}:{self.sign}{self.value}"


class Not(Filter, frozen=True):
    """Jobs that `part` does not let through."""

    part: Filter

    def __str__(self) -> str:
        return f"-({self.part})" if isinstance(self.part, Every | Either) else f"-{self.part}"


class Every(Filter, frozen=True):
    """Jobs that pass all parts; without parts, every job."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " ".join(f"({it})" if isinstance(it, Every | Either) else str(it) for it in self.parts)


class Either(Filter, frozen=True):
    """Jobs that pass one of the parts at least."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " OR ".join(f"({it})" if isinstance(it, Either) else str(it) for it in self.parts)


EVERYTHING = Every(())

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_VALUE = rf'(?:{_QUOTED}|[^\s(),"]+)'
_TOKEN = (
    rf"(?s)(?P<open>\()|(?P<close>\))|(?P<minus>-(?=\S))"
    rf"|(?P<key>[A-Za-z][\w.-]*):(?P<values>{_VALUE}(?:,{_VALUE})*)?(?=[\s()]|$)"
    rf'|(?P<quoted>{_QUOTED})(?=[\s()]|$)|(?P<word>[^\s()":-][^\s()":]*)(?=[\s()]|$)'
)
"""Patterns are compiled at their first use: most programs that import this read no filter."""
_SPLIT = f"(?s){_VALUE}"
_BARE_TEXT = r'[^\s()":-][^\s()":]*'
_BARE_VALUE = r'[^\s(),"<>=][^\s(),"]*'
_SIGNED = r"(?s)(>=|<=|>|<)(.+)"
_NUMBER = r"-?\d{1,15}(\.\d{1,9})?"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith('"') else text


def parse(text: str) -> Filter:
    """Read a filter of at most 2,000 characters, 64 conditions and 16 levels. Without a word it lets every job through.

    >>> str(parse('state:failed   (queue:mail OR "no route") -tag:eu'))
    'state:failed (queue:mail OR "no route") -tag:eu'

    Raises:
        FilterError: it cannot be read; the error names the token, its position, and what would be right.
    """
    if len(text) > LONGEST:
        raise FilterError(f"a filter has at most {LONGEST:,} characters", token=text[:20], position=0)
    return _Reader(text).read()


class _Reader:
    """Recursive descent over the tokens of one text: `either` of `every` of `one`."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.terms = text, 0, 0
        self.token: re.Match[str] | None = None
        self.advance()

    def read(self) -> Filter:
        if self.token is None:
            return EVERYTHING
        tree = self.either(1)
        if self.token is not None:  # only a closing parenthesis stops `either` before the end
            raise self.wrong("this parenthesis closes nothing; remove it, or put it in quotes")
        return tree

    def either(self, depth: int) -> Filter:
        parts = [self.every(depth)]
        while self.is_word("OR"):
            self.advance()
            parts.append(self.every(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def every(self, depth: int) -> Filter:
        parts: list[Filter] = []
        while self.token is not None and not self.is_word("OR") and self.token["close"] is None:
            if self.is_word("AND"):
                if not parts:
                    break
                self.advance()
            parts.append(self.one(depth))
        if not parts:
            raise self.wrong("a condition is missing here, such as state:failed")
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def one(self, depth: int) -> Filter:
        token = self.token
        if token is None or token["close"] is not None or self.is_word("OR") or self.is_word("AND"):
            raise self.wrong("a condition is missing here, such as state:failed")
        if depth > DEEPEST:
            raise self.wrong(f"nested deeper than {DEEPEST} levels; write it flatter")
        if token["minus"]:
            self.advance()
            return Not(self.one(depth + 1))
        if token["open"]:
            self.advance()
            inner = self.either(depth + 1)
            if self.token is None:
                raise self.wrong("a parenthesis is still open; close it with )", at=token)
            self.advance()
            return inner
        if self.is_word("NOT"):
            raise self.wrong('write -queue:mail for jobs of other queues, or "NOT" in quotes to search for the word')
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise self.wrong(f"a filter has at most {MOST_TERMS} conditions")
        found = self.term(token) if token["key"] else Text(_unquoted(token[0]))
        if found == Text(""):
            raise self.wrong("there is nothing between the quotes")
        self.advance()
        return found

    def term(self, token: re.Match[str]) -> Filter:
        key, given = token["key"], re.findall(_SPLIT, token["values"] or "")
        path = key.startswith("args.") and all(key.split("."))
        if not path and key not in (*WORDS, *NUMBERS, *DURATIONS, *MOMENTS):
            raise self.wrong(f"there is no {key}: here; use {', '.join(KEYS)}, or put it in quotes to search for text")
        if not given or not all(_unquoted(it) for it in given):
            raise self.wrong(f"a value is missing; write {_EXAMPLES.get(key, f'{key}:value')}")
        signed = re.fullmatch(_SIGNED, given[0])
        if signed and (path or key in NUMBERS or key in DURATIONS) and len(given) == 1:
            return self.comparison(key, signed[1], signed[2])
        values = tuple(_unquoted(it) for it in given)
        self.check(key, values)
        return Term(key, values)

    def comparison(self, key: str, sign: str, value: str) -> Compare:
        if key in DURATIONS:
            self.duration(key, value)
        elif not re.fullmatch(_NUMBER, value):
            raise self.wrong(f"{value!r} is not a number; write {_EXAMPLES.get(key, f'{key}:>5')}")
        return Compare(key, sign, value)

    def check(self, key: str, values: tuple[str, ...]) -> None:
        for value in values:
            if key == "state" and value not in STATES:
                raise self.wrong(f"no state {value!r}; the states are {', '.join(STATES)}")
            if key in NUMBERS and not re.fullmatch(_NUMBER, value):
                raise self.wrong(f"{value!r} is not a number; write {_EXAMPLES[key]}")
        if key in DURATIONS:
            raise self.wrong(f"{key}: compares with one duration; write {_EXAMPLES[key]}")
        if key in MOMENTS:
            if len(values) != 1:
                raise self.wrong(f"{key}: takes one moment; write {_EXAMPLES[key]}")
            try:
                moment(values[0], now=0)
            except ValueError:
                raise self.wrong(
                    f"{values[0]!r} is neither a duration nor a date; write {key}:2h, {key}:2026-11-20 or "
                    f"{key}:2026-11-20T08:30:00Z"
                ) from None

    def duration(self, key: str, value: str) -> None:
        try:
            milliseconds(value)
        except ConfigError:
            raise self.wrong(f"{value!r} is not a duration; write {_EXAMPLES[key]}") from None

    def is_word(self, word: str) -> bool:
        return self.token is not None and self.token["word"] == word

    def advance(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        self.token = None
        if self.at < len(self.text):
            self.token = re.compile(_TOKEN).match(self.text, self.at)
            if self.token is None:
                raise self.unreadable()
            self.at = self.token.end()

    def unreadable(self) -> FilterError:
        rest = self.text[self.at :]
        token = rest.split()[0][:40]
        if rest.startswith('"'):
            problem = 'a quote is still open; close it with " (a quote within is \\")'
        elif rest.startswith("-"):
            problem = "a minus stands right before what it turns round, such as -queue:low"
        else:
            problem = f"this cannot be read; put it in quotes to search for text: {_quoted(token)}"
        return FilterError(problem, token=token, position=self.at)

    def wrong(self, problem: str, at: re.Match[str] | None = None) -> FilterError:
        token = at or self.token
        if token is None:
            return FilterError(problem, token="", position=len(self.text))
        return FilterError(problem, token=token[0], position=token.start())


_EXAMPLES = {
    "state": "state:failed,retrying",
    "attempt": "attempt:>3",
    "crashes": "crashes:>0",
    "priority": "priority:>=10",
    "ran": "ran:>30s",
    "waited": "waited:>5m",
    "since": "since:2h",
    "before": "before:2026-11-20",
}


def moment(text: str, *, now: int) -> int:
    """A moment in milliseconds since the epoch: so long before `now`, or a date or date and time, in UTC unless it
    says otherwise.

    Raises:
        ValueError: it is neither.
    """
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        if text.isdecimal():  # a year, say: nobody means seconds
            raise
        return now - milliseconds(text)
    return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1_000)
