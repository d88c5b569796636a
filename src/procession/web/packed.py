"""Compressed answers, for those who asked for them from a page of ours or from the address bar.

What another site made a browser ask is never compressed: from lengths, and from words of its own within an address, it
could guess what else stands on the page (BREACH, 2013). Called by `pages.py`; `assets.py` asks the same.
"""

from __future__ import annotations

import gzip
import re

from starlette.requests import Request
from starlette.responses import Response

LEAST = 1_024
"""Bytes below which it is not worth it."""
TRUSTED = ("same-origin", "none")


def takes_gzip(request: Request) -> bool:
    """True when whoever asks names gzip, and not in order to rule it out (`gzip;q=0`)."""
    named = r"\bgzip\s*(;\s*q=(?!0(\.0*)?\s*(,|$))[^,]*)?(,|$)"
    return re.search(named, request.headers.get("accept-encoding", ""), re.IGNORECASE) is not None


def packed(request: Request, answer: Response) -> Response:
    """The same answer, compressed where that may be."""
    answer.headers["Vary"] = "Accept-Encoding, Sec-Fetch-Site, Cookie"
    if takes_gzip(request) and request.headers.get("sec-fetch-site") in TRUSTED and len(answer.body) >= LEAST:
        answer.body = gzip.compress(answer.body, 5, mtime=0)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Content-Length"] = str(len(answer.body))
    return answer
