-- The record of a job, one string in the hash `jobs`: a head that moves rewrite, and behind it the spec as it was asked for.
-- And the unit of work: what a script changes is gathered while it runs and written by `commit`, each kind of write in one
-- command for all jobs. A fresh head is short; what only some jobs have (a plan, a history) is there when its flag is set,
-- and a long spec lies in `specs`, so that no move rewrites it. The layout is known here and in `records.py`.

local QUEUED, DELAYED, BLOCKED, RUNNING, PROCESSED, FAILED, CANCELLED = 1, 2, 3, 4, 5, 6, 7
local NAMES = {'queued', 'delayed', 'blocked', 'running', 'processed', 'failed', 'cancelled'}
local JOBS, SPECS, ERRORS, RESULTS, DUE = T .. ':jobs', T .. ':specs', T .. ':errors', T .. ':results', T .. ':due'
local VERSION, LONG_SPEC = 1, 1024
local HEAD, PLAN, HISTORY = '>BBBbHBHI6Bc0', '>I6I6', '>I6I6Bc0Bc0Bc0'
local HAS_PLAN, HAS_HISTORY, CANCEL, HAS_ERRORS, HAS_RESULT, APART = 1, 2, 4, 8, 16, 32

if now == 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local function unpacked(raw)
  local version, state, flags, priority, attempt, crashes, place, enqueued, queue, at = struct.unpack(HEAD, raw)
  local due, expires, started, finished, worker, token, reason = 0, 0, 0, 0, '', '', ''
  if flags % 2 == 1 then due, expires, at = struct.unpack(PLAN, raw, at) end
  if flags % 4 >= 2 then started, finished, worker, token, reason, at = struct.unpack(HISTORY, raw, at) end
  return {
    state = state, priority = priority, attempt = attempt, crashes = crashes, place = place, enqueued = enqueued, queue = queue,
    due = due, expires = expires, started = started, finished = finished, worker = worker, token = token, reason = reason,
    cancel = flags % 8 >= 4, errors = flags % 16 >= 8, result = flags % 32 >= 16, apart = flags >= 32, spec = string.sub(raw, at),
  }
end

local function packed(r)
  local flags, plan, history = 0, '', ''
  if r.due > 0 or r.expires > 0 then flags, plan = HAS_PLAN, struct.pack(PLAN, r.due, r.expires) end
  if r.started > 0 or r.finished > 0 or r.worker ~= '' or r.token ~= '' or r.reason ~= '' then
    flags = flags + HAS_HISTORY
    history = struct.pack(HISTORY, r.started, r.finished, #r.worker, r.worker, #r.token, r.token, #r.reason, r.reason)
  end
  if r.cancel then flags = flags + CANCEL end
  if r.errors then flags = flags + HAS_ERRORS end
  if r.result then flags = flags + HAS_RESULT end
  if r.apart then flags = flags + APART end
  return struct.pack(HEAD, VERSION, r.state, flags, r.priority, r.attempt, r.crashes, r.place, r.enqueued, #r.queue, r.queue)
    .. plan .. history .. r.spec
end

-- One command per chunk of many arguments: `unpack` fails above about 8,000 values.
local function each_chunk(items, size, call)
  for first = 1, #items, size do
    call(unpack(items, first, math.min(first + size - 1, #items)))
  end
end

-- The unit of work. `known` is what was read or written so far: a record, or false for a job that is not there.
local known, dirty, changed, gone, pushes, depths, deltas, rung = {}, {}, {}, {}, {}, {}, {}, {}
local places, placed = nil, 0

local function load(jid)
  local r = known[jid]
  if r == nil then
    local raw = redis.call('HGET', JOBS, jid)
    r = raw and unpacked(raw)
    known[jid] = r
  end
  return r
end

-- Read many records with one command, so that `load` finds them.
local function load_all(jids)
  each_chunk(jids, 4000, function(...)
    local chunk = {...}
    for i, raw in ipairs(redis.call('HMGET', JOBS, ...)) do
      local jid = chunk[i]
      if known[jid] == nil then known[jid] = raw and unpacked(raw) end
    end
  end)
end

local function save(jid, r)
  known[jid] = r
  if not dirty[jid] then
    dirty[jid] = true
    changed[#changed + 1] = jid
  end
end

-- Leave nothing of a job but its entries in lists, which are tombstones then.
local function drop(jid, r)
  if r.apart then redis.call('HDEL', SPECS, jid) end
  if r.errors then redis.call('HDEL', ERRORS, jid) end
  if r.result then redis.call('HDEL', RESULTS, jid) end
  known[jid] = false
  gone[#gone + 1] = jid
end

local function count(name, by)
  deltas[name] = (deltas[name] or 0) + by
end

local function deepen(queue, by)
  depths[queue] = (depths[queue] or 0) + by
  count('queued', by)
end

-- A bell holds at most one ring; a ring that nobody waited for is heard by the next who waits, or fades in a minute.
local function ring(name)
  rung[name] = true
end

-- An entry of a list: the job's id and two bytes that are new each time it is filed. An entry that its job's record does not
-- name any more is a tombstone: no removal searches a list. The bytes come from a counter of the shard.
local ENTRY = '>c16H'

-- What one command is going to push to one list.
local function pushing(command, key)
  local name = command .. key
  pushes[name] = pushes[name] or {n = 0, command = command, key = key, done = false}
  return pushes[name]
end

local function file(push, jid)
  places = places or tonumber(redis.call('HGET', T .. ':meta', 'places') or 0)
  placed = placed + 1
  local n, place = push.n + 1, (places + placed) % 65536
  push.n, push[n] = n, struct.pack(ENTRY, jid, place)
  return place
end

-- A record that is written as it is, past `known`: for the moves that run most, which take a record apart without a table (a
-- table of its fields costs as much as all else that such a move does).
local fields, wrote = {}, 0
local function write(jid, raw)
  fields[wrote + 1], fields[wrote + 2] = jid, raw
  wrote = wrote + 2
end

local function commit()
  for _, jid in ipairs(changed) do
    local r = known[jid]
    if r then write(jid, packed(r)) end
  end
  each_chunk(fields, 4000, function(...) redis.call('HSET', JOBS, ...) end)
  each_chunk(gone, 4000, function(...) redis.call('HDEL', JOBS, ...) end)
  for _, push in pairs(pushes) do
    each_chunk(push, 4000, function(...) redis.call(push.command, push.key, ...) end)
    push.done = true
  end
  for queue, by in pairs(depths) do redis.call('HINCRBY', T .. ':depth', queue, by) end
  if placed > 0 then redis.call('HINCRBY', T .. ':meta', 'places', placed) end
  for name, by in pairs(deltas) do
    if by ~= 0 then redis.call('HINCRBY', T .. ':counters', name, by) end
  end
  for name in pairs(rung) do
    local bell = T .. ':bell:' .. name
    if redis.call('LLEN', bell) == 0 then
      redis.call('RPUSH', bell, '1')
      redis.call('EXPIRE', bell, 60)
    end
  end
  dirty, changed, gone, fields, pushes, depths, deltas, rung = {}, {}, {}, {}, {}, {}, {}, {}
  wrote = 0
  places, placed = nil, 0
end
