"""Pruning, a duty that any queue worker does: forget what is over its bounds.

Recovering and promoting, the others, ride on heartbeats. All are leaderless: each is one atomic, bounded script, two at
once are harmless, and no lock can be left behind. They need neither traffic nor a person.
"""

from __future__ import annotations

import asyncio
import random

from procession.database import Database
from procession.errors import StoreRefused, Unavailable
from procession.runtime.outage import Patient

EVERY = (60.0, 80.0)
"""Seconds between two prunings; drawn anew each time."""
LIMIT = 500
"""Most jobs that one call forgets. What finishes too fast for this pushes out the oldest by itself."""


async def pruning(patient: Patient, database: Database) -> None:
    """Run until cancelled. During an outage it does nothing: the queue worker logs it."""
    while True:
        await asyncio.sleep(random.uniform(*EVERY))
        try:
            while not patient.away and await patient.connection.ask(database.prune(LIMIT)) >= LIMIT:
                pass
        except (Unavailable, StoreRefused):
            continue
