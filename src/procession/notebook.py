"""What one attempt has said and its queue worker has not yet fetched: bounded, written by the job from any thread.

`CurrentJob` opens one at the first word, so a job that says nothing has none. The queue worker (or the job process)
looks about once a second and when the attempt ends. Nothing here waits or knows a database.

An attempt keeps `HEAD` lines as they come, then only the newest `TAIL`, which are sent when it ends, behind a line that
says how many were left out between. So what is stored is only ever appended to, and a reader's place in it stays.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from procession.errors import ConfigError
from procession.notes import Progress, Said

HEAD, TAIL = 400, 100
"""Lines of an attempt: the first ones, sent while it runs, and the newest ones, sent when it ends."""
HEAD_BYTES, TAIL_BYTES = 48 * 1024, 16 * 1024
"""Likewise in bytes of JSON."""
LONGEST = 4_000
"""Characters of one line; what is longer is cut, and ends in `…`."""
LONGEST_TEXT = 200
"""Characters of a progress text."""


class Page(Struct, frozen=True):
    """What is fetched from a notebook at once."""

    progress: bytes
    lines: tuple[bytes, ...]


class Notebook:
    """The notes of one attempt. `told` is called, in the writing thread, when there is something to fetch again."""

    def __init__(self, attempt: int, told: Callable[[], None] | None = None) -> None:
        self._attempt = attempt
        self._told = told
        self._lock = threading.Lock()
        self._progress = b""
        self._lines: list[bytes] = []
        self._head, self._head_bytes = 0, 0
        self._tail: deque[tuple[int, bytes]] = deque()
        self._tail_bytes = 0
        self._left_out, self._left_at = 0, 0
        self._closed = False
        self.numbered = 0
        """Notes made of it so far."""

    @property
    def empty(self) -> bool:
        """Nothing to fetch while the attempt runs."""
        return not (self._progress or self._lines)

    def report(self, part: float | None, text: str) -> None:
        """Note progress; only the newest waits. Raises ConfigError for what is no number."""
        progress = msgspec.json.encode(Progress(None if part is None else _part(part), _clean(text, LONGEST_TEXT)))
        with self._lock:
            if self._closed:
                return
            news, self._progress = not self._progress and not self._lines, progress
        if news and self._told is not None:
            self._told()

    def write(self, at: int, level: str, logger: str, text: str) -> None:
        """Note a log line."""
        line = self._encoded(at, level, logger, text)
        with self._lock:
            if self._closed:
                return
            news = self.empty
            if not self._tail and self._head < HEAD and self._head_bytes + len(line) <= HEAD_BYTES:
                self._head, self._head_bytes = self._head + 1, self._head_bytes + len(line)
                self._lines.append(line)
            else:
                self._keep_newest(at, line)
            news = news and not self.empty
        if news and self._told is not None:
            self._told()

    def fetch(self, *, last: bool = False) -> Page:
        """Take what is there; with `last` the newest lines too, and nothing is noted any more."""
        with self._lock:
            lines, self._lines = self._lines, []
            progress, self._progress = self._progress, b""
            if last:
                self._closed = True
                if self._left_out:
                    said = f"{self._left_out} lines were left out"
                    lines.append(self._encoded(self._left_at, "WARNING", "procession", said))
                lines += [line for _, line in self._tail]
                self._tail.clear()
        return Page(progress, tuple(lines))

    def paste(self, page: Page) -> None:
        """Take over what was fetched, within its bounds, from the notebook in a job process."""
        with self._lock:
            self._progress = page.progress or self._progress
            self._lines += page.lines

    def _keep_newest(self, at: int, line: bytes) -> None:
        self._tail.append((at, line))
        self._tail_bytes += len(line)
        while len(self._tail) > TAIL or self._tail_bytes > TAIL_BYTES:
            self._left_at, oldest = self._tail.popleft()
            self._tail_bytes -= len(oldest)
            self._left_out += 1

    def _encoded(self, at: int, level: str, logger: str, text: str) -> bytes:
        said = Said(at, _clean(level, 50), _clean(logger, LONGEST_TEXT), _clean(text, LONGEST), self._attempt)
        return msgspec.json.encode(said)


def _part(part: Any) -> float:
    """A part from 0 to 1: of a float, a Decimal, a Fraction, or whole numbers too large for a float."""
    try:
        within = min(max(part, 0), 1) if isinstance(part, int) else part
        done = float(within) if hasattr(within, "__float__") else math.nan
    except (TypeError, ValueError, ArithmeticError):  # an array, a signalling NaN, a fraction beyond all floats
        done = math.nan
    if not math.isfinite(done):
        raise ConfigError(f"progress({part!r:.200}): the part done is a number from 0 to 1, or None when unknown")
    return min(max(done, 0.0), 1.0)


def _clean(text: object, longest: int) -> str:
    """Text that can be stored: cut, and without halves of characters, which UTF-8 has no place for."""
    said = str(text)
    said = said if len(said) <= longest else said[: longest - 1] + "…"
    return said.encode("utf-8", "backslashreplace").decode()
