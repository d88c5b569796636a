"""How long an error itself asks to wait: a server that said `Retry-After`, or an exception with `retry_after`.

Read where an attempt is judged (`runtime/executor.py`). Nothing here decides whether there is another attempt.
Sources: RFC 9110, section 10.2.3, for the header; `error.response.headers` is where requests, httpx and aiohttp's
relatives keep it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from procession.clock import milliseconds
from procession.errors import ConfigError

LONGEST_ASKED = 24 * 3600 * 1000
"""Milliseconds: what an error asks beyond this counts as this. A server far away does not park a job for a year."""


def asked_delay(error: BaseException, now: datetime | None = None) -> int | None:
    """Milliseconds that the error asks to wait, at most a day; None when it does not say, or says nonsense.

    Looked for in this order: `error.retry_after` (seconds, a timedelta, or text: "10m", or as in the header), then
    `error.response.headers["Retry-After"]` (seconds, or an HTTP date, which is compared with this machine's clock).
    """
    try:
        for asked in (getattr(error, "retry_after", None), _header(error)):
            seconds = _seconds(asked, now or datetime.now(UTC))
            if seconds is not None:
                return min(max(round(seconds * 1_000), 0), LONGEST_ASKED)
    except Exception:  # properties of a foreign exception may raise anything
        return None
    return None


def _header(error: BaseException) -> Any:
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    found = headers.get("Retry-After")
    return headers.get("retry-after") if found is None else found


def _seconds(asked: Any, now: datetime) -> float | None:
    if isinstance(asked, timedelta):
        return asked.total_seconds()
    if isinstance(asked, bytes):
        asked = asked.decode("latin-1")
    if isinstance(asked, str):
        try:
            asked = float(asked)
        except ValueError:
            return _until(asked, now)
    if isinstance(asked, int | float) and not isinstance(asked, bool) and math.isfinite(asked):
        return float(min(asked, LONGEST_ASKED))
    return None


def _until(text: str, now: datetime) -> float | None:
    with suppress(ConfigError):
        return milliseconds(text) / 1_000
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    return ((then if then.tzinfo else then.replace(tzinfo=UTC)) - now).total_seconds()
