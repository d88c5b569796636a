-- Final states: the list of recent jobs of each, its bound, the callers who wait, and what crashes come to.

local KEPT = {[PROCESSED] = T .. ':processed', [FAILED] = T .. ':failed', [CANCELLED] = T .. ':cancelled'}
local watching

local function is_watched()
  if watching == nil then watching = redis.call('EXISTS', T .. ':watching') == 1 end
  return watching
end

local function ring_watchers(jid)
  if not is_watched() then return end
  local key = T .. ':watch:' .. jid
  for _, waiter in ipairs(redis.call('SMEMBERS', key)) do ring('@' .. waiter) end
  redis.call('DEL', key)
end

-- A job leaves its state for another, or for good: what was counted for it there.
local function leave_state(jid, r)
  if r.state == QUEUED then
    deepen(r.queue, -1)
  elseif r.state == DELAYED then
    redis.call('ZREM', DUE, jid)
  elseif KEPT[r.state] then
    count('kept_' .. NAMES[r.state], -1)
  end
end

local function forget(jid, r)
  if r.rules then limits().give_back(jid, r) end
  leave_state(jid, r)
  drop(jid, r)
  ring_watchers(jid)
end

-- Make a job final. Of the token just enough stays to know a repeated question again.
local function finish(jid, r, state, reason)
  if r.rules then limits().give_back(jid, r) end
  r.state, r.finished, r.reason, r.due, r.token = state, now, string.sub(reason, 1, 200), 0, string.sub(r.token, 1, 4)
  r.place = file(pushing('RPUSH', KEPT[state]), jid)
  if r.rules then redis.call('ZREM', DEADLINES, jid) end
  save(jid, r)
  happened(NAMES[state], r.queue, 1)
  count('kept_' .. NAMES[state], 1)
  ring_watchers(jid)
end

-- Forget up to `limit` of the oldest jobs of a final state: those that `over` jobs are too many, or that finished by `oldest`.
-- Looks at `most` entries at the most, so that a call stays short. To be called with nothing uncommitted. Nobody waits for a
-- job that is final, so nobody is rung. Of two entries of a job that are alike the first takes it along.
local function shed(state, limit, over, oldest, most)
  local forgotten, young = 0, false
  while most > 0 and forgotten < limit and not young do
    local key = redis.call('EXISTS', front_key(KEPT[state])) == 1 and front_key(KEPT[state]) or KEPT[state]
    local entries = redis.call('LRANGE', key, 0, math.min(most, limit - forgotten, 1000) - 1)
    local raws, jids = raws_of(entries)
    local passed = 0
    for i, raw in ipairs(raws) do
      if known[jids[i]] ~= false and is_filed(raw, entries[i], state) then
        local r = (forgotten >= over or string.byte(raw, 8) >= HAS_ERRORS) and unpacked(raw)
        young = forgotten >= over and r and r.finished > oldest
        if young then break end
        if r then
          drop(jids[i], r)
        else
          known[jids[i]], gone[#gone + 1] = false, jids[i]
        end
        forgotten = forgotten + 1
      end
      passed = i
    end
    if passed == 0 then break end
    redis.call('LTRIM', key, passed, -1)
    redis.call('HINCRBY', META, 'shed_' .. NAMES[state], passed)
    most = most - passed
  end
  if forgotten > 0 then count('kept_' .. NAMES[state], -forgotten) end
  return forgotten
end

local function over_bound(state, bound)
  local name = 'kept_' .. NAMES[state]
  return math.max((totals[name] or tonumber(redis.call('HGET', COUNTERS, name) or 0)) - bound, 0)
end

-- Push the oldest out of a final state that is over its bound, `most` at a time.
local function trim(state, bound, most)
  local over = math.min(over_bound(state, bound), most)
  if over > 0 then shed(state, over, over, 0, most + 100) end
end

-- Keep an attempt's error: one JSON document per line, the newest 25.
local function add_error(jid, r, failure)
  local lines = {}
  for line in string.gmatch(r.errors and redis.call('HGET', ERRORS, jid) or '', '[^\n]+') do lines[#lines + 1] = line end
  lines[#lines + 1] = failure
  redis.call('HSET', ERRORS, jid, table.concat(lines, '\n', math.max(1, #lines - 24)))
  r.errors = true
end

-- A run ended with its process: count the crash and decide. The caller takes it off the count of running jobs.
local function crashed(jid, r, max_crashes)
  r.crashes = math.min(r.crashes + 1, 255)
  count('recovered', 1)
  if r.cancel then
    finish(jid, r, CANCELLED, r.reason)
  elseif r.crashes >= max_crashes then
    finish(jid, r, FAILED, 'poison')
  else
    r.worker, r.token, r.reason = '', '', ''
    to_lane(jid, r, true)
  end
end

-- A job's worker is gone. `crash` is the dossier as JSON, or ''.
local function take_back(jid, r, max_crashes, how, crash)
  local error = cjson.encode({attempt = r.attempt, type = 'WorkerDied', message = how, at = now, worker = r.worker})
  if crash ~= '' then error = string.sub(error, 1, -2) .. ',"crash":' .. crash .. '}' end
  add_error(jid, r, error)
  count('running', -1)
  r.token = ''
  crashed(jid, r, max_crashes)
end

-- What a worker whose end nobody saw last said of itself, as a dossier. Its words are read as JSON before they go on.
local function last_words(worker, how, beside)
  local crash = {how = how, beside = beside}
  local info = redis.call('HGET', T .. ':workers', worker) or ''
  local readable, said = pcall(cjson.decode, string.match(info, '^%d+ (.+)$') or '')
  if readable and type(said) == 'table' then
    if type(said.host) == 'string' and not string.find(said.host, '[^\32-\126]') then crash.host = said.host end
    for _, name in ipairs({'pid', 'memory'}) do
      if type(said[name]) == 'number' and said[name] % 1 == 0 and math.abs(said[name]) < 1e14 then crash[name] = said[name] end
    end
  end
  return cjson.encode(crash)
end

-- Jobs whose run ended with its worker, by queue, and which of the job's crashes it was: a worker of that queue takes each out
-- once, and tells whom it concerns.
local DEATHS, DEATHS_KEPT = 1000, 86400

local function deaths_key(queue)
  return T .. ':deaths:' .. queue
end

local function note_deaths(dead)
  for queue, deaths in pairs(dead) do
    each_chunk(deaths, 4000, function(...) redis.call('RPUSH', deaths_key(queue), ...) end)
    local over = redis.call('LLEN', deaths_key(queue)) - DEATHS
    if over > 0 then redis.call('LPOP', deaths_key(queue), over) end
    redis.call('EXPIRE', deaths_key(queue), DEATHS_KEPT)
  end
end

-- Take back up to `limit` jobs that a worker holds, the youngest first, each to the front of its lane: so they run in their old
-- order. True when none is left and the worker is forgotten.
local function take_back_all(worker, limit, max_crashes, how, crash, taken)
  local counted, freed, dead = held_count(worker), {}, {}
  local ids = as_claimed(worker, held_by(worker, true))
  if how == 'lease ended' then crash = last_words(worker, how, math.max(#ids - 1, 0)) end
  for i = #ids, 1, -1 do
    if #ids - i >= limit then
      for token, number in pairs(freed) do let_go(worker, token, number) end
      note_deaths(dead)
      return false
    end
    local r = load(ids[i])
    freed[r.token] = (freed[r.token] or 0) + 1
    take_back(ids[i], r, max_crashes, how, crash)
    taken[#taken + 1] = ids[i]
    dead[r.queue] = dead[r.queue] or {}
    table.insert(dead[r.queue], ids[i] .. string.char(r.crashes))
  end
  note_deaths(dead)
  if counted ~= #ids then  -- a record is gone that its claim has counted
    count('running', #ids - counted)
    count('repaired', 1)
  end
  redis.call('DEL', held_key(worker))
  redis.call('ZREM', T .. ':leases', worker)
  redis.call('HDEL', T .. ':workers', worker)
  redis.call('HDEL', T .. ':tokens', worker)
  redis.call('DEL', T .. ':orders:' .. worker)
  return true
end
