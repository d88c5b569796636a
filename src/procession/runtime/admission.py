"""May a queue worker begin on this store? Asked once, before it claims anything, by every queue worker."""

from __future__ import annotations

import logging

from procession.database import Inspection
from procession.doctor import evicting
from procession.errors import ConfigError

log = logging.getLogger("procession.worker")


def admit(store: Inspection, *, allow_eviction: bool) -> None:
    """Refuse a server that throws keys away; say once, in a line, what else may lose jobs.

    Raises:
        ConfigError: the server evicts, and nobody said that this is meant.
    """
    gone = evicting(store)
    if gone and not allow_eviction:
        raise ConfigError(
            f"the store's maxmemory-policy is {store.policy}: when its memory is full it throws jobs away silently;"
            " set it to noeviction, or allow this with allow_eviction=True (--allow-eviction)"
        )
    doubts = [
        *([f"maxmemory-policy is {store.policy}, so a full store throws jobs away"] if gone else []),
        *(["its maxmemory-policy is not known"] if gone is None else []),
        *(["it keeps no append-only file, so jobs end with it"] if store.append_only is False else []),
    ]
    if doubts and store.kind != "memory":
        log.warning("the store may lose jobs: %s; see procession doctor", ", and ".join(doubts))
