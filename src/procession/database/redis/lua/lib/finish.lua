-- Final states: the index of recent jobs, the bound of each, the callers who wait, and forgetting.

local KEPT = {[PROCESSED] = T .. ':processed', [FAILED] = T .. ':failed', [CANCELLED] = T .. ':cancelled'}
local watching = redis.call('EXISTS', T .. ':watching') == 1

local function ring_watchers(jid)
  if not watching then return end
  local key = T .. ':watch:' .. jid
  for _, waiter in ipairs(redis.call('SMEMBERS', key)) do ring('@' .. waiter) end
  redis.call('DEL', key)
end

local function forget(jid)
  redis.call('HDEL', STATES, jid)
  redis.call('HDEL', SPECS, jid)
  redis.call('HDEL', ERRORS, jid)
  redis.call('HDEL', RESULTS, jid)
  ring_watchers(jid)
end

-- Write a job's final state. `r` is saved by the caller of `finish`, in here.
local function finish(jid, r, state, reason)
  r.state, r.finished, r.reason, r.due = state, now, string.sub(reason, 1, 200), 0
  save(jid, r)
  redis.call('ZADD', KEPT[state], now, jid)
  count(NAMES[state], 1)
  ring_watchers(jid)
end

-- Push the oldest out of an index that is over its bound; at most `most` of them, so that a call stays short.
local function trim(state, bound, most)
  local over = redis.call('ZCARD', KEPT[state]) - bound
  if over <= 0 then return 0 end
  local oldest = redis.call('ZPOPMIN', KEPT[state], math.min(over, most))
  for i = 1, #oldest, 2 do forget(oldest[i]) end
  return #oldest / 2
end

-- Keep an attempt's error: one JSON document per line, the newest 25.
local function add_error(jid, failure)
  local kept = redis.call('HGET', ERRORS, jid)
  local lines = {}
  for line in string.gmatch(kept or '', '[^\n]+') do lines[#lines + 1] = line end
  lines[#lines + 1] = failure
  redis.call('HSET', ERRORS, jid, table.concat(lines, '\n', math.max(1, #lines - 24)))
end

-- A run ended with its process: count the crash and decide. The caller takes it off the count of running jobs.
local function crashed(jid, r, max_crashes)
  r.crashes = math.min(r.crashes + 1, 255)
  count('recovered', 1)
  if r.cancel == 1 then
    finish(jid, r, CANCELLED, r.reason)
  elseif r.crashes >= max_crashes then
    finish(jid, r, FAILED, 'poison')
  else
    r.worker, r.token, r.reason = '', '', ''
    to_lane(jid, r, true)
    ring(r.queue)
  end
end

-- A job's worker is gone. `crash` is the dossier as JSON, or ''.
local function take_back(jid, r, max_crashes, how, crash)
  local error = cjson.encode({attempt = r.attempt, type = 'WorkerDied', message = how, at = now, worker = r.worker})
  if crash ~= '' then error = string.sub(error, 1, -2) .. ',"crash":' .. crash .. '}' end
  add_error(jid, error)
  count('running', -1)
  r.token = ''
  crashed(jid, r, max_crashes)
end

-- Take back up to `limit` jobs that a worker holds; true when none is left and the worker is forgotten.
local function take_back_all(worker, limit, max_crashes, how, crash, taken)
  local held = T .. ':held:' .. worker
  local ids = redis.call('SMEMBERS', held)
  table.sort(ids, function(a, b) return a > b end)
  for i, jid in ipairs(ids) do
    if i > limit then return false end
    local r = load(jid)
    if r and r.state == RUNNING and r.worker == worker then
      take_back(jid, r, max_crashes, how, crash)
      taken[#taken + 1] = jid
    end
    redis.call('SREM', held, jid)
  end
  redis.call('ZREM', T .. ':leases', worker)
  redis.call('HDEL', T .. ':workers', worker)
  redis.call('HDEL', T .. ':tokens', worker)
  return true
end
