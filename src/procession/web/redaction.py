"""What nobody is to see on the dashboard: arguments, results, errors and log lines are redacted before they are read.

`viewed(app, …)` is the app as the pages see it: whatever it is asked, the jobs in the answer went through `redact`.
So no page, JSON twin, search or API could forget it, and hidden values cannot be guessed by searching.
What acts on jobs uses the app itself. Pure but for the questions that it passes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from procession.client import Procession
from procession.database import Page, Scheduled
from procession.database.measures import ErrorGroup
from procession.errors import ConfigError
from procession.job import Failure, Job
from procession.notes import LogLine
from procession.schedule import ScheduleInfo
from procession.schedules import Schedules
from procession.sealing import PREFIX, is_sealed
from procession.unique import shown as in_key

log = logging.getLogger("procession.web")

Kind = Literal["args", "result", "error", "log", "key", "headers"]
"""Arguments (a dict) · a result (decoded) · text of an error · text of a log line or of progress · a unique key, limit
or tag · headers (a dict)."""
Redact = Callable[[Kind, Any, str], Any]
"""Given what it is, the value, and the job's name ("" where it is not known), returns the value as it may be seen. It
may be called more than once for the same job. What it raises on is hidden altogether."""

HIDDEN = "•••"
WORDS = (
    "password", "passwd", "pwd", "passphrase", "secret", "token", "jwt", "authorization", "cookie", "credential",
    "api key", "private key", "access key", "secret key", "encryption key", "session id",
)  # fmt: skip
"""Words in the name of a key whose value is hidden, and their plurals: that of `access_token` or `apiKey` is hidden.
Tokens are counted as often as they are secret, so that of `max_tokens` is not."""

_UPPER = "".join(filter(str.isupper, map(chr, range(0x2000))))
_PART = re.compile(rf"[{_UPPER}]+(?![^\W\d_{_UPPER}])|[{_UPPER}]?[^\W\d_{_UPPER}]+|\d+")
_URL = re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)")
_NAMED = re.compile(r"(?<![\w.-])([\w-][\w.-]*+(?: [\w-]++){0,5}+)[\\\"')\]]*+\s*+[=:]+>?\s*")
_BREAK = re.compile(r"(?<![=: ])\n")
_SCHEME = r"(?:(?:basic|bearer|digest|token)\s+)?"
_QUOTED = r"""[rbuf]{0,2}(?P<quote>\\*["'])[^\n]*?(?<!\\)(?P=quote)|[rbuf]{0,2}\\*["'][^\n]*"""
_VALUE = re.compile(rf"{_SCHEME}(?P<value>{_QUOTED}|[(\[{{][^\n]*|[^\s,;&)\]}}\"']+)", re.IGNORECASE)
_LINE = re.compile(rf"{_SCHEME}(?P<value>{_QUOTED}|[^\n]+)", re.IGNORECASE)
_LINES = frozenset({"authorization", "cookie", "cookies"})


def hide_keys(*more: str) -> Redact:
    """A `redact` that hides the values of keys by their names: `WORDS`, and `more` such as "iban" or "card number".

    In text it hides what follows such a name and `=` or `:`, up to the end of the line after `Authorization` and
    `Cookie`, and the password within a URL. A list of a name and a value is such a pair, too. Raises ConfigError for a
    word without a letter or digit.
    """
    given = [parts_of(word) for word in (*WORDS, *more)]
    if [] in given:
        raise ConfigError(f"the words {', '.join(map(repr, more))} name no key: each needs a letter or a digit")
    words = {"".join(it) for it in given}
    words |= {f"{word}s" for word in words - {"token"}}
    firsts, longest = {it[0] for it in given}, max(map(len, given)) + 2

    def is_secret(key: str) -> bool:
        parts = parts_of(key)
        return any(not words.isdisjoint(accumulate(parts[at : at + longest])) for at in range(len(parts)))

    def is_said(name: str) -> bool:  # of several words before a sign, the last ones are to be the name
        ends = accumulate(parts_of(name)[: -longest - 1 : -1], lambda end, part: part + end)
        return is_secret(name.rpartition(" ")[2]) or not words.isdisjoint(ends)

    def hidden(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: HIDDEN if is_secret(str(key)) else hidden(it) for key, it in value.items()}
        if isinstance(value, list):
            pair = len(value) == 2 and isinstance(value[0], str) and is_secret(value[0])
            return [value[0], HIDDEN] if pair else [hidden(it) for it in value]
        return in_text(value) if isinstance(value, str) else value

    def in_text(text: str) -> str:
        if "://" in text:
            text = _URL.sub(rf"\1{HIDDEN}", text)
        return "\n".join(map(in_line, _BREAK.split(text))) if may_be(text) else text

    def may_be(text: str) -> bool:  # far cheaper than the expressions, and most lines hold none of the words
        lower = text.lower()
        return any(first in lower for first in firsts)

    def in_line(text: str) -> str:
        if not may_be(text):
            return text
        seen, at = "", 0
        for named in _NAMED.finditer(text):
            if named.start() >= at and may_be(named[1]) and is_said(named[1]):
                kind = _VALUE if _LINES.isdisjoint(parts_of(named[1])) else _LINE
                if value := kind.match(text, named.end()):
                    seen, at = seen + text[at : value.start("value")] + HIDDEN, value.end()
        return seen + text[at:]

    return lambda kind, value, name: hidden(value)


def parts_of(key: str) -> list[str]:
    """The words of a name, whether joined by signs or by capitals.

    >>> parts_of("X-Api-Key"), parts_of("accessToken2"), parts_of("DB_PASSWORD")
    (['x', 'api', 'key'], ['access', 'token', '2'], ['db', 'password'])
    """
    return [part.lower() for part in _PART.findall(key)]


def kept(edited: Any, original: Any, shown: Any) -> Any:
    """What somebody edited in a form that shows redacted values: whatever stands as it was shown becomes what it was.

    Raises:
        ConfigError: what is hidden was changed in part, renamed, or moved within its list, so its value is not known.
    """
    if _same(edited, shown):
        return original
    if all(isinstance(it, dict) for it in (edited, original, shown)):
        there = original.keys() & shown.keys()
        return {
            key: kept(value, original[key], shown[key]) if key in there else _whole(value)
            for key, value in edited.items()
        }
    if all(isinstance(it, list) for it in (edited, original, shown)) and not _same(shown, original):
        hidden = [it for it, was in zip(shown, original, strict=False) if not _same(it, was)]
        moved = any(now in hidden and now != was for now, was in zip(edited, shown, strict=False))
        if moved or not len(edited) == len(original) == len(shown):
            raise ConfigError(
                "a list of which some is hidden was reordered, or is longer or shorter than it was; leave its entries"
                " where they are, or do this from code"
            )
        return [kept(*it) for it in zip(edited, original, shown, strict=True)]
    return _whole(edited)


def _whole(edited: Any) -> Any:
    text = msgspec.json.encode(edited).decode()
    if HIDDEN in text:
        raise ConfigError(
            f"{text[:80]} would be stored with {HIDDEN} in it; write out what is hidden there, or undo it"
        )
    return edited


def _same(one: Any, other: Any) -> bool:
    return msgspec.json.encode(one) == msgspec.json.encode(other)  # in Python 1 is True, and 1.0


class Shade:
    """One or several `redact`, over whatever the store answers. With a codec chain, what is sealed is left as it is:
    `redact` is to see it once it is opened, and what is not opened says nothing."""

    def __init__(self, redacts: Sequence[Redact], *, chained: bool) -> None:
        self._redacts = redacts
        self._chained = chained

    def over(self, answer: Any) -> Any:
        """The answer as it may be seen."""
        if isinstance(answer, Job):
            return self._job(answer)
        if type(answer) in (list, tuple):
            return type(answer)(map(self.over, answer))
        if isinstance(answer, Page):
            return replace(answer, jobs=self.over(answer.jobs))
        if isinstance(answer, LogLine):
            return replace(answer, text=self._text("log", answer.text, _job_of(answer)))
        if isinstance(answer, ErrorGroup):
            return replace(answer, message=self._message(answer))
        if isinstance(answer, Scheduled):
            return replace(answer, schedules=self.over(answer.schedules))
        return self._schedule(answer) if isinstance(answer, ScheduleInfo) else answer

    def _job(self, job: Job) -> Job:
        name, progress, args = job.name, job.progress, self._args(job.args, job.name)
        unseen = [*_unseen(job.args, args)]

        def key(text: str) -> str:
            seen = self._text("key", text, name)
            return HIDDEN if any(it in seen for it in unseen) else seen

        headers = self._seen("headers", job.headers, name) if job.headers else {}
        return replace(
            job,
            args=args,
            tags=tuple(map(key, job.tags)),
            headers=headers if isinstance(headers, dict) else {HIDDEN: str(headers)},
            unique=key(job.unique),
            limit=key(job.limit),
            result=None if job.result is None else self._json("result", job.result, name),
            reason=self._text("error", job.reason, name),
            progress=None if progress is None else replace(progress, text=self._text("log", progress.text, name)),
            failures=tuple(self._failure(it, name) for it in job.failures),
            raw=self._text("error", job.raw.decode(errors="replace"), name).encode() if job.raw else b"",
        )

    def _failure(self, failure: Failure, name: str) -> Failure:
        crash = failure.crash
        return replace(
            failure,
            message=self._text("error", failure.message, name),
            traceback=self._text("error", failure.traceback, name),
            crash=None if crash is None else replace(crash, log=tuple(self._text("log", it, name) for it in crash.log)),
        )

    def _message(self, group: ErrorGroup) -> str:
        message = group.message
        for name in group.names:  # it may be that of any of them
            message = self._text("error", message, name)
        return message

    def _schedule(self, info: ScheduleInfo) -> ScheduleInfo:
        try:
            asked = msgspec.json.decode(info.asked)
            asked["args"] = self._args(asked["args"], asked["job"])
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):
            return info
        return replace(info, asked=msgspec.json.encode(asked))

    def _args(self, args: Any, name: str) -> dict[str, Any]:
        if self._chained and is_sealed(msgspec.json.encode(args)):
            return dict(args)
        found = self._seen("args", args, name)
        return found if isinstance(found, dict) else {HIDDEN: found}

    def _json(self, kind: Kind, raw: msgspec.Raw, name: str) -> msgspec.Raw:
        if self._chained and is_sealed(raw):
            return raw
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.Raw(msgspec.json.encode(HIDDEN))
        seen = self._seen(kind, value, name)
        return raw if seen == value else msgspec.Raw(msgspec.json.encode(seen))

    def _text(self, kind: Kind, text: str, name: str) -> str:
        sealed = self._chained and text.startswith(PREFIX)
        return text if not text or sealed else str(self._seen(kind, text, name))

    def _seen(self, kind: Kind, value: Any, name: str) -> Any:
        for redact in self._redacts:
            try:
                value = redact(kind, value, name)
            except Exception:
                log.exception("redact raised on the %s of a job %r, which is hidden", kind, name)
                return HIDDEN
        return value


class _Connection:
    """A connection whose answers lie in the shade."""

    def __init__(self, connection: Any, shade: Shade) -> None:
        self._connection = connection
        self._shade = shade

    async def ask(self, *operations: Any, **options: Any) -> Any:
        """See `AsyncConnection.ask`."""
        return self._shade.over(await self._connection.ask(*operations, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Schedules(Schedules):
    """Schedules in the shade once they are opened."""

    def __init__(self, app: _Viewed, shade: Shade) -> None:
        super().__init__(app, app._calling)
        self._shade = shade

    def _opened(self, info: ScheduleInfo) -> ScheduleInfo:
        seen: ScheduleInfo = self._shade.over(super()._opened(info))
        return seen


class _Viewed(Procession):
    """An app that asks through another one, and shows its answers in the shade."""

    def __init__(self, app: Procession, shade: Shade) -> None:
        self.settings, self.registry, self._credentials = app.settings, app.registry, app._credentials
        self.database = app.database
        self._app = app
        self._shade = shade

    def connection_async(self) -> Any:
        return _Connection(self._app.connection_async(), self._shade)

    def connection(self) -> Any:
        raise NotImplementedError("the pages ask from an event loop")

    @cached_property
    def schedules(self) -> Schedules:
        return _Schedules(self, self._shade)

    def opened(self, job: Any) -> Any:
        return self._shade.over(super().opened(job))

    async def log_async(self, jid: str | UUID, attempt: int | None = None, after: int = 0) -> list[LogLine]:
        lines: list[LogLine] = self._shade.over(await super().log_async(jid, attempt, after))
        return lines


def viewed(app: Procession, redact: Redact | Sequence[Redact] | None) -> Procession:
    """The app as the pages see it; None shows everything."""
    if redact is None:
        return app
    chained = app.registry.policies.sealing is not None
    return _Viewed(app, Shade([redact] if callable(redact) else [*redact], chained=chained))


def _unseen(value: Any, seen: Any) -> Iterator[str]:
    """What is not shown of arguments, as it would stand in a key that is made of them."""
    if value == seen:
        return
    if isinstance(value, dict):
        for name, it in value.items():
            yield from _unseen(it, seen.get(name) if isinstance(seen, dict) else None)
    elif isinstance(value, list):
        for at, it in enumerate(value):
            yield from _unseen(it, seen[at] if isinstance(seen, list) and at < len(seen) else None)
    elif value or value == 0:
        yield in_key(value)


def _job_of(line: LogLine) -> str:
    """The job's name, where a line was said to `current_job().log`."""
    return line.logger.removeprefix("procession.job.") if line.logger.startswith("procession.job.") else ""
