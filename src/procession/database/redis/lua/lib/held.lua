-- What queue workers hold: per worker a hash, claim token → how many of the claim's jobs are not settled, and the ids of all. A
-- claim is written once and counted down, so holding and letting go cost a command per claim and not per job. An id counts while
-- its job's record names this worker and this token.

-- A worker that has left is not known again for a minute: what it asked before comes late, and would make a worker that nobody is.
local LEFT, LATE = T .. ':left', 60000

local function has_left(worker)
  local at = redis.call('ZSCORE', LEFT, worker)
  return at and now < at + LATE
end

-- `tokens` holds of each worker its number and the token of its last claim. Both are nil for one that has claimed nothing yet.
local function number_and_token(worker)
  local entry = redis.call('HGET', T .. ':tokens', worker)
  if not entry or #entry < 5 then return end
  local number = struct.unpack('>I4', entry)
  known_as(worker, number)
  return number, string.sub(entry, 5)
end

-- A worker gets its number with its first claim, one more than any that is known, even when their count was lost. The name of the one
-- that came so many before it is forgotten then, unless that one is alive.
local NAMED = 65536
local function new_number(worker)
  local number = redis.call('HINCRBY', META, 'workers', 1)
  local old = redis.call('HGET', WORKER_NAMES, number - NAMED)
  if old and not redis.call('ZSCORE', T .. ':leases', old) then redis.call('HDEL', WORKER_NAMES, number - NAMED) end
  if redis.call('HSETNX', WORKER_NAMES, number, worker) == 0 then
    for _, other in ipairs(redis.call('HKEYS', WORKER_NAMES)) do number = math.max(number, tonumber(other) + 1) end
    redis.call('HSET', META, 'workers', number)
    redis.call('HSET', WORKER_NAMES, number, worker)
  end
  known_as(worker, number)
  return number
end

local function held_key(worker)
  return T .. ':held:' .. worker
end

local function hold(worker, token, jids)
  if #jids > 0 then
    redis.call('HSET', held_key(worker), token, struct.pack('>I4', #jids) .. table.concat(jids))
  end
end

-- How many jobs a claim says that it holds; 0 for one that is cut short.
local function left_of(claim)
  return #claim > 3 and (struct.unpack('>I4', claim)) or 0
end

local function let_go(worker, token, number)
  local claim = redis.call('HGET', held_key(worker), token)
  if not claim then return end
  local left = left_of(claim) - number
  if left > 0 then
    redis.call('HSET', held_key(worker), token, struct.pack('>I4', left) .. string.sub(claim, 5))
  else
    redis.call('HDEL', held_key(worker), token)
  end
end

-- The ids that a claim still holds, in order.
local function held_of(worker, token, claim)
  local ids, found = {}, {}
  for at = 5, #claim, 16 do ids[#ids + 1] = string.sub(claim, at, at + 15) end
  load_all(ids)
  for _, jid in ipairs(ids) do
    local r = load(jid)
    if r and r.state == RUNNING and r.worker == worker and r.token == token then found[#found + 1] = jid end
  end
  return found
end

-- All ids that a worker holds, sorted. A claim that has shrunk by half is written anew, if the script may write.
local function held_by(worker, may_write)
  local found, claims = {}, redis.call('HGETALL', held_key(worker))
  for i = 1, #claims, 2 do
    local ids = held_of(worker, claims[i], claims[i + 1])
    for _, jid in ipairs(ids) do found[#found + 1] = jid end
    if may_write and #ids == 0 then
      redis.call('HDEL', held_key(worker), claims[i])
    elseif may_write and 32 * #ids < #claims[i + 1] then
      hold(worker, claims[i], ids)
    end
  end
  table.sort(found)
  return found
end

-- Jobs that a worker holds in the order in which it claimed them, which their ids need not have.
local function as_claimed(worker, jids)
  local place, claims = {}, redis.call('HGETALL', held_key(worker))
  for i = 1, #claims, 2 do
    for at = 5, #claims[i + 1], 16 do
      local jid = string.sub(claims[i + 1], at, at + 15)
      if known[jid] and known[jid].token == claims[i] then place[jid] = at end
    end
  end
  table.sort(jids, function(a, b)
    local one, other = known[a], known[b]
    if one.started ~= other.started then return one.started < other.started end
    if one.token ~= other.token then return one.token < other.token end
    return place[a] < place[b]
  end)
  return jids
end

-- How many jobs a worker holds, without reading one of them.
local function held_count(worker)
  local number = 0
  for _, claim in ipairs(redis.call('HVALS', held_key(worker))) do number = number + left_of(claim) end
  return number
end
