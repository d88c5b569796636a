"""Unique jobs: what counts as the same job, until when, and what becomes of a second one. Pure, and no I/O.

An application writes the words of `UniqueOptions` where a job is defined or enqueued; `Uniqueness` is what they come
to, and `Unique` what one enqueue asks of the store. Whether a key is held is read off the record of the job that has
it (`is_held`), never kept beside it: there is no lock that could outlive its job. Called by the registry, the enqueuer
and the databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from procession.clock import lasting
from procession.errors import ConfigError
from procession.names import check_text

if TYPE_CHECKING:
    from procession.codec import Signature
    from procession.job import State

Until = Literal["start", "processed", "done"]
Conflict = Literal["keep", "replace", "raise"]
Key = str | bool | tuple[str, ...]

LONGEST_KEY = 1_000
"""Most characters of a key that is written out."""


class UniqueOptions(TypedDict, total=False):
    """The words about uniqueness that `@app.job`, `@app.worker` and `using()` take; None counts as not given.

    `unique`: what counts as the same. `until`: the move that frees the key, `done` by default. `unique_for`: how long
    it is held at the least. `conflict`: `keep` (default), `replace` or `raise`. `debounce`, `at_most`: run when it has
    been quiet for so long, at the latest so long after the first. `throttle`: one in this time. Durations as elsewhere,
    up to ten years.
    """

    unique: Key | None
    until: Until | None
    unique_for: float | str | timedelta | None
    conflict: Conflict | None
    debounce: float | str | timedelta | None
    at_most: float | str | timedelta | None
    throttle: float | str | timedelta | None


class Unique(Struct, frozen=True, kw_only=True):
    """The key of one new job, and how long the job holds it: all durations in milliseconds from the store's now."""

    key: bytes
    """16 bytes: a digest of the job's name and the key as text."""
    until: Until | None = "done"
    """Which of the job's own moves frees the key; None: only the end of `window`."""
    window: int = 0
    """How long the key is held at the least, whatever becomes of the job; 0 for no longer than `until`."""
    conflict: Conflict = "keep"
    """What this enqueue wants where another job holds the key; `replace` changes that one if it waits."""
    at_most: int = 0
    """How far later enqueues may push its due time out, from the first enqueue on; 0: without a limit."""


class Uniqueness(Struct, frozen=True, kw_only=True):
    """What an application asked for, checked. Durations in milliseconds, 0 when not given."""

    key: Key | None = None
    """A text, True for all arguments, or the names of some; None or False: not unique."""
    template: bool = False
    """The text has the arguments filled in: it was given where the job is defined."""
    until: Until | None = "done"
    window: int = 0
    conflict: Conflict = "keep"
    debounce: int = 0
    at_most: int = 0
    defaults: bytes = b"{}"
    """The defaults of parameters as a JSON object."""

    def __bool__(self) -> bool:
        return self.key not in (None, False)

    def asked(self, name: str, text: str) -> Unique:
        """The question of one enqueue: a job of this name with this key."""
        return Unique(
            key=digest(f"{name}\0{text}"),
            until=self.until,
            window=self.window,
            conflict=self.conflict,
            at_most=self.at_most,
        )

    def text(self, arguments: bytes, signature: Signature) -> str:
        """The key as text, with defaults filled in where the call left them out. Raises ConfigError when too long."""
        if isinstance(self.key, str) and not self.template:
            return self.key
        values: dict[str, Any] = msgspec.json.decode(self.defaults) | signature.one_form(arguments)
        if isinstance(self.key, str):
            text = filled(self.key, values)
            if len(text) > LONGEST_KEY:
                raise ConfigError(
                    f"the unique key {text[:40]!r}… is over {LONGEST_KEY:,} characters; name the arguments"
                )
            return text
        chosen = {name: values.get(name) for name in self.key} if isinstance(self.key, tuple) else values
        return msgspec.json.encode(chosen, order="sorted").decode()


NOT_UNIQUE = Uniqueness()


def uniqueness(options: Mapping[str, Any], signature: Signature) -> Uniqueness:
    """What the words at a job's definition come to. Raises ConfigError."""
    return _checked(_with_words(Uniqueness(template=True), options, signature), signature)


def for_call(defined: Uniqueness, options: Mapping[str, Any], signature: Signature) -> Uniqueness:
    """The same with the words of one enqueue in front: a text given there is a key as it stands. Raises ConfigError."""
    words = {word: options[word] for word in UniqueOptions.__annotations__ if word in options}
    if not words:
        return defined
    if "unique" in words:
        defined = replace(defined, template=False)
    return _checked(_with_words(defined, words, signature), signature)


def is_held(until: Until | None, window_ends: int, state: State, started: bool, now: int) -> bool:
    """True while the job with a key holds it: until its window ends, or the move that frees the key."""
    if now < window_ends:
        return True
    match until:
        case "start":
            return not started and not state.final
        case "processed":
            return not state.final or state == "failed"
        case "done":
            return not state.final
    return False


def _with_words(it: Uniqueness, words: Mapping[str, Any], signature: Signature) -> Uniqueness:
    given: dict[str, Any] = {}
    for word in ("until", "conflict"):
        if words.get(word) is not None:
            given[word] = words[word]
    if (key := words.get("unique")) is not None:
        given["key"] = tuple(key) if isinstance(key, list) else key
        given["defaults"] = defaults_in(signature)
    durations = {word: lasting(words[word], word) for word in _DURATIONS if words.get(word) is not None}
    if {"throttle", "debounce"} <= durations.keys():
        raise ConfigError("give throttle= or debounce=, not both: the first runs at once, the second when it is quiet")
    for word in ("throttle", "debounce"):
        if word in durations and given.keys() & {"until", "conflict"} | durations.keys() & {"unique_for"}:
            raise ConfigError(f"{word}= says itself until when a key is held; leave out until, unique_for, conflict")
    if "throttle" in durations:
        given |= {"until": None, "window": durations["throttle"], "conflict": "keep", "debounce": 0, "at_most": 0}
    if "debounce" in durations:
        given |= {"until": "start", "window": 0, "conflict": "replace", "debounce": durations["debounce"]}
    if "unique_for" in durations:
        given["window"] = durations["unique_for"]
    if "at_most" in durations:
        given["at_most"] = durations["at_most"]
    return replace(it, **given)


def defaults_in(signature: Signature) -> bytes:
    """The defaults of parameters as a JSON object, in the form that `Signature.one_form` gives to arguments."""
    return msgspec.json.encode(signature.one_form(msgspec.json.encode(signature.defaults())))


_DURATIONS = ("unique_for", "debounce", "at_most", "throttle")


def _checked(it: Uniqueness, signature: Signature) -> Uniqueness:
    if it.until is not None and it.until not in get_args(Until):
        raise ConfigError(f"until={it.until!r} must be one of {', '.join(get_args(Until))}")
    if it.conflict not in get_args(Conflict):
        raise ConfigError(f"conflict={it.conflict!r} must be one of {', '.join(get_args(Conflict))}")
    if it.at_most and not it.debounce:
        raise ConfigError("at_most= is the limit of debounce=, which is not given")
    if it.at_most and it.at_most < it.debounce:
        raise ConfigError("at_most= is shorter than debounce=: every enqueue would come too late")
    if not it:
        if replace(it, key=None, template=False, defaults=b"{}") != NOT_UNIQUE and it.key is None:
            raise ConfigError(
                'say what counts as the same job: unique=True (all arguments), unique=("user_id",), unique="{user_id}"'
            )
        return NOT_UNIQUE
    if it.key is not True and not (isinstance(it.key, str) and it.key) and not _is_names(it.key):
        raise ConfigError(f"unique={it.key!r} must be True, a text, or the names of arguments in a tuple")
    if isinstance(it.key, str):
        check_text(it.key, "unique")
    if isinstance(it.key, str) and len(it.key) > LONGEST_KEY:
        raise ConfigError(f"the unique key {it.key[:40]!r}… is over {LONGEST_KEY:,} characters")
    for name in _named(it):
        if name not in signature.signature.parameters:
            raise ConfigError(f"unique={it.key!r} names {name!r}, which is no parameter of {signature}")
    return it


def _is_names(key: Any) -> bool:
    return isinstance(key, tuple) and bool(key) and all(isinstance(name, str) for name in key)


def _named(it: Uniqueness) -> list[str]:
    """The arguments that a key speaks about."""
    if isinstance(it.key, tuple):
        return list(it.key)
    if not isinstance(it.key, str) or not it.template:
        return []
    return named_in(it.key, "unique")


def named_in(text: str, option: str) -> list[str]:
    """The arguments that a text names in braces. Raises ConfigError for one that cannot be read, naming the option."""
    from string import Formatter  # a program that names no arguments in texts starts a millisecond sooner

    try:
        parts = [*Formatter().parse(text)]
    except ValueError as error:
        raise ConfigError(f"{option}={text!r} cannot be read as a text with {{arguments}}: {error}") from None
    for _, name, how, conversion in parts:
        if how or conversion:
            raise ConfigError(f"{option}={text!r}: write {{{name}}} alone, without a format")
    return [name for _, name, _, _ in parts if name is not None]


def filled(text: str, values: Mapping[str, Any]) -> str:
    """A text with arguments in the place of their names."""
    return text.format_map({name: shown(value) for name, value in values.items()})


def digest(text: str) -> bytes:
    """Sixteen bytes that stand for a text in the store."""
    import hashlib  # OpenSSL comes with it, which an import of this library does without

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def shown(value: Any) -> str:
    """An argument within a key: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()
