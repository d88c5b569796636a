"""May a queue worker begin on this store? Asked once, before it claims anything, by every queue worker."""

from __future__ import annotations

import logging
from contextlib import suppress

from procession.database import Database, Inspection
from procession.doctor import evicting
from procession.errors import ConfigError, StoreRefused, Unavailable
from procession.runtime.outage import Patient

log = logging.getLogger("procession.worker")


async def be_admitted(patient: Patient, database: Database, *, allow_eviction: bool) -> None:
    """Wait for the store, and see whether it will do. Raises as `admit`."""
    with suppress(Unavailable, StoreRefused):  # told to stop while the store is away
        admit(await patient.ask(database.inspect()), allow_eviction=allow_eviction)


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
