-- The packed state record of a job: one small string per job in the hash `states`.
-- A record is read whole, changed as a table, and written whole; the layout is known here and in `records.py`.

local LAYOUT = '>BBbHBBHI6I6I6I6I6Bc0Bc0Bc0Bc0'
local QUEUED, DELAYED, BLOCKED, RUNNING, PROCESSED, FAILED, CANCELLED = 1, 2, 3, 4, 5, 6, 7
local NAMES = {'queued', 'delayed', 'blocked', 'running', 'processed', 'failed', 'cancelled'}
local STATES, SPECS = T .. ':states', T .. ':specs'
local ERRORS, RESULTS, DUE = T .. ':errors', T .. ':results', T .. ':due'

if now == 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local function unpacked(packed)
  local r = {}
  local version
  version, r.state, r.priority, r.attempt, r.crashes, r.cancel, r.place, r.enqueued, r.due, r.started, r.finished, r.expires,
    r.queue, r.worker, r.token, r.reason = struct.unpack(LAYOUT, packed)
  return r
end

local function packed(r)
  return struct.pack(LAYOUT, 1, r.state, r.priority, r.attempt, r.crashes, r.cancel, r.place, r.enqueued, r.due, r.started,
    r.finished, r.expires, #r.queue, r.queue, #r.worker, r.worker, #r.token, r.token, #r.reason, r.reason)
end

local function load(jid)
  local raw = redis.call('HGET', STATES, jid)
  return raw and unpacked(raw)
end

local function save(jid, r)
  redis.call('HSET', STATES, jid, packed(r))
end

-- One command per chunk of many arguments: `unpack` fails above about 8,000 values.
local function each_chunk(items, size, call)
  for first = 1, #items, size do
    call(unpack(items, first, math.min(first + size - 1, #items)))
  end
end

-- Counters are gathered while the script runs and written once, at its end.
local deltas = {}
local function count(name, by)
  deltas[name] = (deltas[name] or 0) + by
end
local function write_counts()
  for name, by in pairs(deltas) do
    if by ~= 0 then redis.call('HINCRBY', T .. ':counters', name, by) end
  end
end

-- A bell holds at most one ring; a ring that nobody waited for is heard by the next who waits, or fades in a minute.
local function ring(name)
  local bell = T .. ':bell:' .. name
  if redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, '1')
    redis.call('EXPIRE', bell, 60)
  end
end
