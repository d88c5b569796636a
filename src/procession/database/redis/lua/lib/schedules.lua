-- Schedules: what was asked (JSON, opaque here), how each stands (JSON, named as in `ScheduleInfo`), when each is looked at next,
-- and when one that stands in code was last declared.

local ASKED, STANDS = T .. ':schedules', T .. ':schedules:state'
local LOOKS, DECLARED = T .. ':schedules:due', T .. ':schedules:declared'
local KEPT_RUNS, AGAIN, RESTING, LAPSE, FORGOTTEN = 30, 1000, 300000, 300000, 14 * 24 * 3600 * 1000

local function standing(name)
  local readable, s = pcall(cjson.decode, redis.call('HGET', STANDS, name) or '')
  if not readable or type(s) ~= 'table' then s = {} end
  s.next_at, s.runs = s.next_at or 0, s.runs or {}
  return s
end

-- The oldest lines go first, but those of `unfinished` runs, which `overlap` asks for, go last.
local function shorten(runs, unfinished)
  local at = 1
  while #runs > KEPT_RUNS do
    while unfinished and at <= KEPT_RUNS and unfinished[runs[at][2]] do at = at + 1 end
    table.remove(runs, at <= KEPT_RUNS and at or 1)
  end
end

-- An empty list would become an empty object in JSON, so it is left out. `unfinished`: jids in `s.runs`.
local function stand(name, s, look, unfinished)
  shorten(s.runs, unfinished)
  if s.paused_at or s.next_at == 0 then
    redis.call('ZREM', LOOKS, name)
  elseif look then
    redis.call('ZADD', LOOKS, s.next_at, name)
  end
  if #s.runs == 0 then s.runs = nil end
  redis.call('HSET', STANDS, name, cjson.encode(s))
end

-- A look that is put off is told from one at the next instant by half a millisecond. So whoever declares a schedule can have it looked at
-- anew, also when it was put off by a clock that has gone back since.
local function put_off(name, span)
  redis.call('ZADD', LOOKS, now + span + 0.5, name)
end

local function is_put_off(name)
  return tonumber(redis.call('ZSCORE', LOOKS, name) or 0) % 1 > 0
end

-- Something is to be looked at earlier than anybody expects: every worker hears it, for any may be the one that does.
local function call_workers()
  for _, worker in ipairs(redis.call('ZRANGE', T .. ':leases', 0, -1)) do ring('@' .. worker) end
  commit()
end

local function declared_at(name)
  return tonumber(redis.call('ZSCORE', DECLARED, name) or 0)
end

local function lapsed(name)
  local at = declared_at(name)
  return at > 0 and at < now - LAPSE
end

local function remove_schedule(name)
  for _, key in ipairs({STANDS, ASKED}) do redis.call('HDEL', key, name) end
  for _, key in ipairs({LOOKS, DECLARED}) do redis.call('ZREM', key, name) end
end

local function schedule_row(name)
  local asked = redis.call('HGET', ASKED, name)
  return asked and {name, asked, redis.call('HGET', STANDS, name) or '{}', declared_at(name)}
end
