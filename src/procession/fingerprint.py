"""Which failures are one error: the same class, the same message but for the values in it, the same place.

Pure. `failure.py` asks for the place while the exception is there; the queue worker's meter asks for the rest.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from procession.job import Failure

MESSAGE_KEPT = 500
"""Characters of a message that count."""
PLACE_KEPT = 200

_VALUES = re.compile(
    r"(?P<text>\"(?:[^\"\\\n]|\\.)*\"|(?<!\w)'(?:[^'\\\n]|\\.)*')"
    r"|(?P<number>\b[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{7,}\b"  # a hash
    r"|\d+(?:[.,:]\d+)*)"
)
"""What is a value in a message. All numbers have one name: a UUID or a hash may consist of decimal digits alone."""


def fingerprint(failure: Failure) -> str:
    """Sixteen hexadecimal digits, the same for failures that are one error; anywhere, in any process."""
    text = "\0".join((failure.type, normalised(failure.message), failure.where))
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def normalised(message: str) -> str:
    """A message without the values in it: what is quoted, UUIDs, hexadecimal and decimal numbers.

    >>> normalised("user 17 has no 'mail' (job 0x7f3a)")
    'user <number> has no <text> (job <number>)'

    At most its first 500 characters count, and as many are returned.
    """
    return _VALUES.sub(lambda found: f"<{found.lastgroup}>", message[:MESSAGE_KEPT])[:MESSAGE_KEPT]


def place(trace: TracebackType | None) -> str:
    """`module:function` of the innermost frame of a traceback that is the application's own.

    That is neither ours, nor Python's, nor of an installed package. The innermost of all when there is none such;
    "" without a traceback.
    """
    own = innermost = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        innermost = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{code.co_qualname}"[:PLACE_KEPT]
        if _is_own(code.co_filename):
            own = innermost
        trace = trace.tb_next
    return (own or innermost).encode("utf-8", "backslashreplace").decode()


@lru_cache(1_024)
def _is_own(path: str) -> bool:
    return not path.startswith(_FOREIGN) and "-packages" not in path and not path.startswith("<frozen")


_FOREIGN = tuple(
    f"{folder}/"
    for folder in (str(Path(__file__).parent), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
)
