"""The brief's DummyWorker, and the app of `procession demo`: sleeps one to three seconds, and fails at random."""

from __future__ import annotations

import os
import random
import time

from procession.client import Procession
from procession.worker import Worker

app = Procession()


@app.worker(queue="demo", retry=False)
class DummyWorker(Worker):
    """Sleeps and raises by chance, as in the brief; no retries, so that each job ends where it went."""

    def perform(self, number: int, seed: int = 0) -> str:
        """Sleep 1–3 s (times PROCESSION_DEMO_PACE), then return, or raise for about one job in three."""
        chance = random.Random(seed * 1_000 + number) if seed else random.Random()
        time.sleep(chance.uniform(1, 3) * float(os.environ.get("PROCESSION_DEMO_PACE", "1")))
        if chance.random() < 1 / 3:
            raise RuntimeError(f"job {number} was unlucky")
        return f"job {number} is done"
