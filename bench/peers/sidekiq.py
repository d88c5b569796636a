"""Sidekiq (Ruby, Debian's package): a pop hands out the job, and a killed process takes it along: at most once.

Ruby tells the time of its enqueues itself, so that its start does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

from measure import url

LEAST_ONCE = False
SETTINGS = "concurrency 10, push_bulk for bulk"
PACE = 3_000
HERE = Path(__file__).resolve().parent
QUEUE = "queue:default"

_line = None


def left(store: object) -> int:
    """What waits; what is performed just now is nowhere."""
    return store.llen(QUEUE)


def enqueue_one(count: int) -> float:
    return _ruby("one", count)


def enqueue_bulk(count: int) -> float:
    return _ruby("bulk", count)


def _ruby(how: str, count: int) -> float:
    command = ["ruby", str(HERE / "sidekiq.rb"), how, str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def enqueue_stamp(due: float) -> None:
    """As its page on other languages says: push the JSON."""
    global _line
    if _line is None:
        import redis

        _line = redis.Redis.from_url(url())
        _line.sadd("queues", "default")
    now = time.time()
    job = {"class": "Stamp", "args": [due], "jid": uuid.uuid4().hex[:24], "retry": True, "created_at": now}
    job["enqueued_at"] = now
    _line.lpush(QUEUE, json.dumps(job))


def worker(**_places: int | None) -> list[str]:
    os.environ["RUBYOPT"] = "-W0"
    return ["sidekiq", "-r", str(HERE / "sidekiq.rb"), "-c", "10", "-q", "default"]
