"""Sidekiq (Ruby, Debian's package): a pop hands out the job, and a killed process takes it along: at most once.

Enqueues are those of its own client. Ruby tells their time itself, so that its start does not count.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LEAST_ONCE = False
SETTINGS = "concurrency 10, push_bulk for bulk"
PACE = 3_000
HERE = Path(__file__).resolve().parent
QUEUE = "queue:default"


def left(store: object) -> int:
    """What waits; what is performed just now is nowhere."""
    return store.llen(QUEUE)


def enqueue_one(count: int) -> float:
    return _ruby("one", count)


def enqueue_bulk(count: int) -> float:
    return _ruby("bulk", count)


def enqueue_stamps(count: int, pause: float) -> float:
    return _ruby("stamps", count, pause)


def _ruby(how: str, *options: float) -> float:
    command = ["ruby", str(HERE / "sidekiq.rb"), how, *map(str, options)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def worker(**_places: int | None) -> list[str]:
    os.environ["RUBYOPT"] = "-W0"
    return ["sidekiq", "-r", str(HERE / "sidekiq.rb"), "-c", "10", "-q", "default"]
