-- The audit that never ends: a few hundred records a step, at most a step a second, whoever beats. A shelf with fewer entries
-- than jobs is in doubt for two rounds: its entries are looked at in each step, so that each record that comes by is known to
-- have one or not. A shelf with too many entries for that stays in `doubts` until a person asks for a repair.

local RECORDS, EVERY, ENTRIES = 500, 1000, 10000

local looked, lives, seen = {}, {}, {}

local function is_short(shelf)
  local said, entries = said_of(shelf), entries_in(shelf)
  if not said then return entries > 0 end
  return said < 0 or said > entries
end

local function look(shelf, doubted)
  if looked[shelf] then return end
  looked[shelf] = true
  if not doubted then
    if not is_short(shelf) then return end
    if not FINAL[shelf] then name_lanes(shelf) end
    if not is_short(shelf) then return end
    redis.call('HSET', DOUBTS, shelf, 2)
  end
  if entries_in(shelf) <= ENTRIES then
    local live = {}
    recount(shelf, function(jid) live[jid] = true end)
    lives[shelf] = live
  end
end

-- A queued job whose lane is not there, or is there without a name.
local function look_at_lane(queue, priority)
  local key = lane_key(queue, priority)
  if seen[key] then return end
  seen[key] = true
  if lives[queue] or redis.call('ZSCORE', lanes_key(queue), priority) then return end
  name_lanes(queue)
  if length(key) == 0 then
    redis.call('HSET', DOUBTS, queue, 2)
    looked[queue] = false
    look(queue, true)
  end
end

local function look_at_filed(jid, r, shelf)
  look(shelf, false)
  if r.state == QUEUED then look_at_lane(r.queue, r.priority) end
  if not lives[shelf] then return true end
  if not lives[shelf][jid] then refile(jid, r) end
end

-- A round is over: what was in doubt when its last step began is so for one round less.
local function end_round(doubts)
  commit()
  check_counters()
  if redis.call('HLEN', T .. ':tokens') > redis.call('ZCARD', LEASES) then check_tokens() end
  for i = 1, #doubts, 2 do
    if lives[doubts[i]] and redis.call('HINCRBY', DOUBTS, doubts[i], -1) <= 0 then redis.call('HDEL', DOUBTS, doubts[i]) end
  end
end

-- One step, when it is time for one.
local function audited(lease)
  local meta = redis.call('HMGET', T .. ':meta', 'audited_at', 'audit_cursor')
  if meta[1] and math.abs(now - tonumber(meta[1])) < EVERY then return end
  local cursor, doubts = meta[2] or '0', redis.call('HGETALL', DOUBTS)
  for i = 1, #doubts, 2 do look(doubts[i], true) end
  if cursor == '0' then
    for _, queue in ipairs(redis.call('HKEYS', DEPTH)) do look(queue, false) end
    for state in pairs(FINAL) do look(state, false) end
  end
  cursor = check_records(cursor, RECORDS, lease, look_at_filed)
  if cursor == '0' then end_round(doubts) end
  redis.call('HSET', T .. ':meta', 'audited_at', now, 'audit_cursor', cursor)
end
