"""The packed floor: the least that at-least-once can cost with redis-py, msgspec and one hash of packed records.

A record is a struct (state, attempt, three times, the claim's token) and the job as JSON; ids are 16 random bytes. One
script settles a batch and claims the next in one trip, and that trip runs while the batch before is performed. What a
claim holds is one field (token → its ids), so that a dead worker's jobs could be taken back; its lease is written with
each trip.
Finished jobs keep their record. No retries, errors, priorities, delays, cancellation, logging or indexes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine

import msgspec
import redis
import redis.asyncio
from bodies import TEXT, anoop
from measure import TAG, url

LEAST_ONCE = True
SETTINGS = "one hash of packed records, settle + claim in one script, the next batch claimed ahead, batch 500"
BATCH = 500

LAYOUT = ">BBI6I6I6c8"  # state, attempt, enqueued, started, finished, token; then the job as JSON

ENQUEUE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local head = struct.pack('LAYOUT', 1, 0, now, 0, 0, '00000000')
local writes, ids = {}, {}
for i = 1, #ARGV, 2 do
  writes[#writes + 1] = ARGV[i]
  writes[#writes + 1] = head .. ARGV[i + 1]
  ids[#ids + 1] = ARGV[i]
end
redis.call('HSET', KEYS[1] .. ':jobs', unpack(writes))
redis.call('RPUSH', KEYS[1] .. ':lane', unpack(ids))
redis.call('HINCRBY', KEYS[1] .. ':counters', 'left', #ids)
return #ids
""".replace("LAYOUT", LAYOUT)

TURN = """
local jobs, claims = KEYS[1] .. ':jobs', KEYS[1] .. ':claims'
local old, ids, new, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if #ids > 0 then
  local done, writes = {}, {}
  for i = 1, #ids, 16 do done[#done + 1] = string.sub(ids, i, i + 15) end
  for i, record in ipairs(redis.call('HMGET', jobs, unpack(done))) do
    if record then
      local state, attempt, enqueued, started, _, token, at = struct.unpack('LAYOUT', record)
      if state == 2 and token == old then
        writes[#writes + 1] = done[i]
        writes[#writes + 1] = struct.pack('LAYOUT', 3, attempt, enqueued, started, now, token) .. string.sub(record, at)
      end
    end
  end
  if #writes > 0 then redis.call('HSET', jobs, unpack(writes)) end
  redis.call('HDEL', claims, old)
  redis.call('HINCRBY', KEYS[1] .. ':counters', 'left', -#writes / 2)
end
redis.call('ZADD', KEYS[1] .. ':leases', now + 15000, ARGV[5])
local taken = redis.call('LPOP', KEYS[1] .. ':lane', limit)
if not taken then return {'', {}} end
local records, writes = redis.call('HMGET', jobs, unpack(taken)), {}
for i, record in ipairs(records) do
  local _, attempt, enqueued, _, _, _, at = struct.unpack('LAYOUT', record)
  local job = string.sub(record, at)
  records[i] = job
  writes[2 * i - 1] = taken[i]
  writes[2 * i] = struct.pack('LAYOUT', 2, attempt + 1, enqueued, now, 0, new) .. job
end
redis.call('HSET', jobs, unpack(writes))
local held = table.concat(taken)
redis.call('HSET', claims, new, held)
return {held, records}
""".replace("LAYOUT", LAYOUT)

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
        store.evalsha(script, 1, TAG, os.urandom(16), encode(("noop", (number, TEXT))))


async def enqueue_one_async(count: int) -> None:
    """A bare EVALSHA loop."""
    store = redis.asyncio.Redis.from_url(url())
    script = await store.script_load(ENQUEUE)
    for number in range(count):
        await store.evalsha(script, 1, TAG, os.urandom(16), encode(("noop", (number, TEXT))))
    await store.aclose()


def enqueue_bulk(count: int) -> None:
    """A thousand jobs a script."""
    store = redis.Redis.from_url(url())
    script = store.script_load(ENQUEUE)
    for first in range(0, count, 1_000):
        words: list[bytes] = []
        for number in range(first, min(first + 1_000, count)):
            words += (os.urandom(16), encode(("noop", (number, TEXT))))
        store.evalsha(script, 1, TAG, *words)


def worker(**_options: object) -> list[str]:
    """The command that performs jobs."""
    return [sys.executable, "-m", "floors.packed"]


async def work() -> None:
    """Perform jobs for ever: each trip settles the batch before and claims the one after that which runs meanwhile."""
    store = redis.asyncio.Redis.from_url(url())
    script = await store.script_load(TURN)
    me = os.urandom(8)

    async def turn(settled: bytes, ids: bytes) -> tuple[bytes, bytes, list[bytes]]:
        token = os.urandom(8)
        return token, *await store.evalsha(script, 1, TAG, settled, ids, token, BATCH, me)

    done = (b"", b"")
    asked = asyncio.ensure_future(turn(*done))
    while True:
        token, ids, records = await asked
        if not ids and not done[1]:
            await asyncio.sleep(0.001)
        asked = asyncio.ensure_future(turn(*done))
        await asyncio.sleep(0)  # the trip is under way before the batch begins
        for record in records:
            name, args = decode(record)
            begin(JOBS[name](*args))
        done = (token, ids)


def begin(job: Coroutine[object, object, None]) -> None:
    """Start a coroutine by hand; the jobs of the figures in which the floors take part never wait."""
    try:
        job.send(None)
    except StopIteration:
        return
    raise NotImplementedError("this floor runs jobs that never wait")


if __name__ == "__main__":
    import uvloop

    uvloop.run(work())
