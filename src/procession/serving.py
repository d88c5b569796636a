"""Which queues a queue worker serves, and what is said of them: `critical:6` is a queue and its share.

Pure. Read from the settings, the command line and the arguments of a queue worker; what the shares come to, claim by
claim, is in `runtime/turns.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from procession.errors import ConfigError
from procession.names import check_queue

QueueOrder = Literal["shares", "strict"]
"""Which of its queues a worker serves first: each in turn, by its share of the jobs; or the first that has any."""

LARGEST_SHARE = 1_000


def shares_of(queues: str | Iterable[str]) -> dict[str, int]:
    """Queues and their shares, in the order given; a queue without one has a share of 1.

    >>> shares_of(["critical:6", "default:3", "low"])
    {'critical': 6, 'default': 3, 'low': 1}
    >>> shares_of("critical:6, low")
    {'critical': 6, 'low': 1}

    Raises:
        ConfigError: a name or a share that cannot be used, or a queue that is named twice.
    """
    words = [word.strip() for word in queues.split(",") if word.strip()] if isinstance(queues, str) else list(queues)
    shares: dict[str, int] = {}
    for word in words:
        name, colon, share = word.partition(":")
        check_queue(name)
        if colon and not (share.isascii() and share.isdigit() and 1 <= int(share) <= LARGEST_SHARE):
            raise ConfigError(
                f"queue {word!r}: its share must be a whole number from 1 to {LARGEST_SHARE:,}, as in {name}:3"
            )
        if name in shares:
            raise ConfigError(f"queue {name!r} is named twice; name it once, with its share behind a colon")
        shares[name] = int(share) if colon else 1
    return shares


def check_order(order: str, shares: Mapping[str, int]) -> None:
    """Raises ConfigError when shares are given where the order leaves them no meaning."""
    if order == "strict" and any(share != 1 for share in shares.values()):
        raise ConfigError("strict order serves a queue only when those before it have nothing; leave the shares out")
