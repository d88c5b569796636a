"""The naive floor, plain redis-py and msgspec: a hash per job and a list, a script per batch of 200, a task per job.

A claim writes state, worker and token into each job's hash and its id into the worker's set; a settle checks the token,
writes the state and takes the id out. Finished jobs keep their hash. Nothing else is there: no retries, errors,
priorities, delays, cancellation, logging or indexes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import uuid4

import msgspec
import redis
import redis.asyncio
from bodies import TEXT, anoop
from measure import TAG, url

LEAST_ONCE = True
SETTINGS = "a hash per job, a list of ids, claim and settle as scripts of their own, one task per job, batch 200"
BATCH = 200

ENQUEUE = """
local ids = {}
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1] .. ':job:' .. ARGV[i], 'job', ARGV[i + 1], 'state', 'queued')
  ids[#ids + 1] = ARGV[i]
end
redis.call('RPUSH', KEYS[1] .. ':lane', unpack(ids))
redis.call('HINCRBY', KEYS[1] .. ':counters', 'left', #ids)
return #ids
"""

CLAIM = """
local worker, token = ARGV[1], ARGV[2]
redis.call('ZADD', KEYS[1] .. ':leases', redis.call('TIME')[1] + 15, worker)
local reply = {}
for _, id in ipairs(redis.call('LPOP', KEYS[1] .. ':lane', ARGV[3]) or {}) do
  local key = KEYS[1] .. ':job:' .. id
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'token', token)
  redis.call('SADD', KEYS[1] .. ':held:' .. worker, id)
  reply[#reply + 1] = {id, redis.call('HGET', key, 'job')}
end
return reply
"""

SETTLE = """
local worker, token, kept = ARGV[1], ARGV[2], 0
for i = 3, #ARGV do
  local key = KEYS[1] .. ':job:' .. ARGV[i]
  if redis.call('HGET', key, 'token') == token then
    redis.call('HSET', key, 'state', 'processed')
    redis.call('SREM', KEYS[1] .. ':held:' .. worker, ARGV[i])
    kept = kept + 1
  end
end
redis.call('HINCRBY', KEYS[1] .. ':counters', 'left', -kept)
return kept
"""

JOBS = {"noop": anoop}
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(tuple[str, list[int | float | str]]).decode


def left(store: redis.Redis) -> int:
    """Jobs not settled yet."""
    return int(store.hget(f"{TAG}:counters", "left") or 0)


def enqueue_one(count: int) -> None:
    """A bare EVALSHA loop."""
    store = redis.Redis.from_url(url())
    script = store.script_load(ENQUEUE)
    for number in range(count):
        store.evalsha(script, 1, TAG, str(uuid4()), encode(("noop", (number, TEXT))))


async def enqueue_one_async(count: int) -> None:
    """A bare EVALSHA loop."""
    store = redis.asyncio.Redis.from_url(url())
    script = await store.script_load(ENQUEUE)
    for number in range(count):
        await store.evalsha(script, 1, TAG, str(uuid4()), encode(("noop", (number, TEXT))))
    await store.aclose()


def enqueue_bulk(count: int) -> None:
    """A thousand jobs a script."""
    store = redis.Redis.from_url(url())
    script = store.script_load(ENQUEUE)
    for first in range(0, count, 1_000):
        words: list[bytes | str] = []
        for number in range(first, min(first + 1_000, count)):
            words += (str(uuid4()), encode(("noop", (number, TEXT))))
        store.evalsha(script, 1, TAG, *words)


def worker(**_options: object) -> list[str]:
    """The command that performs jobs."""
    return [sys.executable, "-m", "floors.naive"]


async def work() -> None:
    """Perform jobs for ever: claim, run each as a task, settle."""
    store = redis.asyncio.Redis.from_url(url())
    claim, settle = await store.script_load(CLAIM), await store.script_load(SETTLE)
    me = os.urandom(8)
    while True:
        token = os.urandom(8)
        batch = await store.evalsha(claim, 1, TAG, me, token, BATCH)
        if not batch:
            await asyncio.sleep(0.001)
            continue
        calls = [decode(job) for _, job in batch]
        await asyncio.gather(*[asyncio.create_task(JOBS[name](*args)) for name, args in calls])
        await store.evalsha(settle, 1, TAG, me, token, *[jid for jid, _ in batch])


if __name__ == "__main__":
    import uvloop

    uvloop.run(work())
