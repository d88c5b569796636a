"""The jobs of `quick.py`."""

from __future__ import annotations

import time

from procession import Procession

app = Procession()


@app.job(queue="noop")
async def noop(number: int, text: str) -> None:
    """Nothing."""


@app.job(queue="stamp")
async def stamp(enqueued: float) -> float:
    """Seconds between the enqueue and the start."""
    return time.time() - enqueued
