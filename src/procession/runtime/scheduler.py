"""The duties that any queue worker may do: recover the jobs of dead workers, prune what is over its bounds.

Leaderless: each is one atomic, bounded script, two at once are harmless, and no lock can be left behind. They need
neither traffic nor a person. Promoting what is due is part of the queue worker's turn, which knows the next due time.
"""

from __future__ import annotations

import asyncio
import logging
import random

from procession.database import Database
from procession.errors import StoreRefused, Unavailable
from procession.runtime.outage import Patient

log = logging.getLogger("procession.worker")

RECOVER_EVERY = (2.5, 4.0)
"""Seconds between two looks for dead workers; drawn anew each time."""
PRUNE_EVERY = 15.0
LIMIT = 500
"""Most jobs that one call moves."""


async def duties(patient: Patient, database: Database, *, lease: int) -> None:
    """Run until cancelled. During an outage it does nothing: this worker settles and extends its own lease first."""
    connection = patient.connection
    pruned = 0.0
    while True:
        pause = random.uniform(*RECOVER_EVERY)
        await asyncio.sleep(pause)
        pruned += pause
        if patient.away:
            continue
        try:
            while recovered := await connection.ask(database.recover(LIMIT, lease=lease)):
                log.warning("took back %d jobs of workers whose lease ended", len(recovered))
            if pruned >= PRUNE_EVERY:
                pruned = 0.0
                while await connection.ask(database.prune(LIMIT)) >= LIMIT:
                    pass
        except (Unavailable, StoreRefused):
            continue
