"""How values look on a page: numbers, spans, sizes, and text that strangers wrote.

Pure; the templates call these as filters. Nothing here makes markup: all of it goes through autoescape.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from procession.job import Job

LONGEST = 20_000
"""Characters of one value that a page shows; the rest is behind the `.json` twin."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def plain(text: str, longest: int = LONGEST) -> str:
    """Text that strangers wrote, fit to be seen: control and direction characters are written out, length is bounded.

    >>> plain("a\\u202eb")
    'a\\\\u202eb'
    """
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters in all)"
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", cut)


def line(value: Any, longest: int = 90) -> str:
    """A value as one short line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return plain(" ".join(text[: longest * 4].split()) or text[:1], longest) if text else ""


def pretty(value: Any) -> str:
    """A value as indented JSON."""
    return plain(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def json_text(encoded: msgspec.Raw | None) -> str:
    """Encoded JSON, indented; as it is where it is too long to be shown whole."""
    text = bytes(encoded or b"null").decode(errors="replace")
    if len(text) > LONGEST:
        return plain(text)
    try:
        return pretty(json.loads(text))
    except ValueError:
        return plain(text)


def key_of(name: str | bytes) -> str:
    """A name as part of an element's id, which can hold no blanks."""
    return blake2b(name if isinstance(name, bytes) else name.encode(), digest_size=8).hexdigest()


def number(value: float) -> str:
    """A count with its thousands apart."""
    return f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Events a second, such as `+3.2/s`; nothing while nothing happens or nothing is known."""
    if not value:
        return ""
    return f"+{value:,.0f}/s" if value >= 10 else f"+{value:.1f}/s"


def span(milliseconds: float) -> str:
    """A duration in at most two units.

    >>> span(850), span(3_200), span(125_000), span(90_000_000)
    ('850 ms', '3.2 s', '2 min 5 s', '1 d 1 h')
    """
    seconds = milliseconds / 1_000
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, size, lower, part in (("min", 60, "s", 1), ("h", 3_600, "min", 60), ("d", 86_400, "h", 3_600)):
        if seconds < size * (60 if unit == "min" else 24) or unit == "d":
            rest = int(seconds % size // part)
            return f"{int(seconds // size):,} {unit}" + (f" {rest} {lower}" if rest else "")
    raise AssertionError("unreachable")


def clock(milliseconds: int) -> str:
    """An instant as date and time, UTC."""
    return _at(milliseconds).strftime("%Y-%m-%d %H:%M:%S") if milliseconds else ""


def moment(milliseconds: int) -> str:
    """The time of day to the millisecond, UTC."""
    return _at(milliseconds).strftime("%H:%M:%S.%f")[:-3] if milliseconds else ""


def iso(milliseconds: int) -> str:
    """An instant for machines."""
    return _at(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(min(max(milliseconds, 0), 253_402_300_799_000) / 1_000, UTC)


def memory(size: int) -> str:
    """Bytes as megabytes."""
    return f"{size / 1e6:,.0f} MB" if size else ""


def short(jid: Any) -> str:
    """The last part of a jid: what tells two jobs of one second apart."""
    return f"…{str(jid)[-8:]}"


def note(job: Job) -> str:
    """Why a job is where it is, on one line."""
    return line(job.error or job.reason, 160) if job.error or job.reason else ""


_ALL = (plain, line, pretty, json_text, number, rate, span, clock, moment, iso, memory, short, note)
FILTERS = {it.__name__: it for it in _ALL}
