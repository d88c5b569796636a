"""What a filter means for a job: `matcher` turns a tree of `query.py` into a test, `states_of` says where to look.

Pure. `search.py` and `bulk.py` call it for every job they look at, so that a tree is taken apart once, not per job.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import singledispatch
from typing import Any

import msgspec

from procession.clock import milliseconds
from procession.job import Job, State
from procession.query import (
    DURATIONS,
    MOMENTS,
    NUMBERS,
    STATES,
    Compare,
    Either,
    Every,
    Filter,
    Not,
    Term,
    Text,
    moment,
)

Test = Callable[[Job], bool]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def matches(tree: Filter, job: Job, now: int) -> bool:
    """Whether a filter lets this job through. `now` is what `since:2h` counts from, in milliseconds."""
    return matcher(tree, now)(job)


def since(job: Job) -> int:
    """Since when a job is what it is: finished, running, or else enqueued."""
    if job.state.final:
        return job.finish_at or job.enqueued_at
    return job.start_at if job.state is State.RUNNING else job.enqueued_at


@singledispatch
def matcher(tree: Filter, now: int) -> Test:
    """A filter as a test of jobs at the moment `now`, milliseconds since the epoch."""
    raise TypeError(f"{tree!r} at {now} is no filter; make one with parse()")


@matcher.register
def _(tree: Every, now: int) -> Test:
    tests = [matcher(part, now) for part in tree.parts]
    return lambda job: all(test(job) for test in tests)


@matcher.register
def _(tree: Either, now: int) -> Test:
    tests = [matcher(part, now) for part in tree.parts]
    return lambda job: any(test(job) for test in tests)


@matcher.register
def _(tree: Not, now: int) -> Test:
    test = matcher(tree.part, now)
    return lambda job: not test(job)


@matcher.register
def _(tree: Text, _now: int) -> Test:
    wanted = tree.text.casefold()
    return lambda job: any(wanted in text.casefold() for text in _texts(job))


@matcher.register
def _(tree: Compare, now: int) -> Test:
    compare = SIGNS[tree.sign]
    limit = milliseconds(tree.value) if tree.key in DURATIONS else float(tree.value)

    def test(job: Job) -> bool:
        return any(compare(it, limit) for it in _measured(job, tree.key, now))

    return test


@matcher.register
def _(tree: Term, now: int) -> Test:
    if tree.key == "state":
        return _state_test(tree.values)
    if tree.key in MOMENTS:
        edge = moment(tree.values[0], now=now)
        return (lambda job: since(job) >= edge) if tree.key == "since" else (lambda job: since(job) < edge)
    if tree.key in NUMBERS:
        numbers = {float(value) for value in tree.values}
        return lambda job: getattr(job, tree.key) in numbers
    patterns = [value.split("*") for value in tree.values]
    return lambda job: any(fits(text, pattern) for text in _said(job, tree.key) for pattern in patterns)


def fits(text: str, pattern: list[str]) -> bool:
    """Whether a text is the parts of a pattern with anything between them.

    Each part is looked for once, from the left: no pattern makes this slow, as a regular expression of many `.*` would.
    """
    first, last = pattern[0], pattern[-1]
    if len(pattern) == 1:
        return text == first
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in pattern[1:-1]:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _state_test(values: tuple[str, ...]) -> Test:
    plain = frozenset[State]().union(*(STATES[it] for it in values if it != "retrying"))
    retrying = "retrying" in values
    return lambda job: job.state in plain or (retrying and job.state is State.DELAYED and job.attempt > 0)


def _said(job: Job, key: str) -> Iterator[str]:
    """The texts of a job that a word is compared with."""
    if key.startswith("args."):
        for value in _reached(job.args, key.split(".")[1:]):
            yield value if isinstance(value, str) else msgspec.json.encode(value).decode()
    elif key == "error":
        if job.failures:
            last = job.failures[-1]
            yield last.type
            yield last.type.rpartition(".")[2]
            yield f"{last.module}.{last.type}"
    elif key == "tag":
        yield from job.tags
    elif key == "job":
        yield job.name
        yield job.name.rpartition(".")[2]
    else:
        yield str(getattr(job, key))


def _reached(value: Any, path: list[str]) -> list[Any]:
    """What lies at the end of a path through objects and lists; nothing when it breaks off."""
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return []
    return [value]


def _measured(job: Job, key: str, now: int) -> Iterator[float]:
    """The number or duration of a job that is compared; nothing when it has none."""
    if key == "ran":
        if job.ran is not None:
            yield job.ran
        elif job.start_at and job.state is State.RUNNING:
            yield now - job.start_at
    elif key == "waited":
        yield (job.start_at or job.finish_at or now) - job.enqueued_at
    elif key.startswith("args."):
        for value in _reached(job.args, key.split(".")[1:]):
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield value
    else:
        yield getattr(job, key)


def _texts(job: Job) -> Iterator[str]:
    yield from (job.name, str(job.jid), job.queue, job.reason, *job.tags)
    if job.args:
        yield _TEXT.encode(job.args).decode()
    if job.failures:
        last = job.failures[-1]
        yield f"{last.type}: {last.message}"
    if job.raw:
        yield job.raw.decode(errors="replace")


_TEXT = msgspec.json.Encoder()


def states_of(tree: Filter) -> frozenset[State]:
    """The states in which jobs that a filter lets through can be: where to look, never too few."""
    match tree:
        case Term(key="state", values=values):
            return frozenset[State]().union(*(STATES[it] for it in values))
        case Not(part=Term(key="state", values=values)):
            return frozenset(State).difference(*(STATES[it] for it in values if it != "retrying"))
        case Every(parts=parts):
            return frozenset(State).intersection(*(states_of(part) for part in parts))
        case Either(parts=parts):
            return frozenset[State]().union(*(states_of(part) for part in parts))
    return frozenset(State)


def is_timed(tree: Filter) -> bool:
    """Whether it matters what time it is."""
    match tree:
        case Every(parts=parts) | Either(parts=parts):
            return any(is_timed(part) for part in parts)
        case Not(part=part):
            return is_timed(part)
        case Term(key=key) | Compare(key=key):
            return key in MOMENTS or key in DURATIONS
    return False


def queue_of(tree: Filter) -> str | None:
    """The one queue in which all jobs are that a filter lets through, if it names exactly one."""
    for part in tree.parts if isinstance(tree, Every) else (tree,):
        if isinstance(part, Term) and part.key == "queue" and len(part.values) == 1 and "*" not in part.values[0]:
            return part.values[0]
    return None
