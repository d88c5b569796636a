"""Sidekiq's worker again, fed from Python: what its wiki shows for other languages, with no client in between.

The least that an enqueue from Python can be: JSON and one push. No retries, no look at its arguments, no record.
"""

from __future__ import annotations

import json
import time
import uuid

import redis
from measure import url

from peers import sidekiq

LEAST_ONCE = False
SETTINGS = "as sidekiq; its JSON pushed with redis-py, without a client"

_line = None


def enqueue_stamp(due: float) -> None:
    global _line
    if _line is None:
        _line = redis.Redis.from_url(url())
        _line.sadd("queues", "default")
    now = time.time()
    job = {"class": "Stamp", "args": [due], "jid": uuid.uuid4().hex[:24], "retry": True, "created_at": now}
    _line.lpush(sidekiq.QUEUE, json.dumps(job | {"enqueued_at": now}))


def worker(**places: int | None) -> list[str]:
    return sidekiq.worker(**places)
