-- The store against itself: each record in the place that its state names, each worker with a lease, counters that add up.
-- `heartbeat` does a step of it and mends; `audit` walks the whole, and mends when asked. Mending makes no move: it puts back
-- what a move wrote, in O(1) for each record. Recounting a shelf costs a look at each of its entries.
-- A shelf is what a number of entries is kept for: a queue with its lanes, or a final state with its list.

local LEASES, WORKERS, DOUBTS, DEPTH = T .. ':leases', T .. ':workers', T .. ':doubts', T .. ':depth'
local COUNTERS = T .. ':counters'
local FINAL = {processed = PROCESSED, failed = FAILED, cancelled = CANCELLED}
local mending, findings = true, {}

-- Note what is wrong; true when it is to be mended now.
local function wrong(kind, jid, where)
  findings[#findings + 1] = {kind, jid, where, mending and 1 or 0}
  if mending then count('repaired', 1) end
  return mending
end

-- Workers

-- A worker without a lease gets one: if it lives it beats, if not its jobs come back when this one ends.
local function check_lease(worker, lease)
  if not redis.call('ZSCORE', LEASES, worker) and wrong('no lease', '', worker) then
    redis.call('ZADD', LEASES, now + lease, worker)
    redis.call('HSETNX', WORKERS, worker, now .. ' {}')
  end
end

local function lend(lease)
  if redis.call('ZCARD', LEASES) == redis.call('HLEN', WORKERS) then return end
  for _, worker in ipairs(redis.call('HKEYS', WORKERS)) do check_lease(worker, lease) end
end

local function check_tokens()
  for _, worker in ipairs(redis.call('HKEYS', T .. ':tokens')) do
    if not redis.call('ZSCORE', LEASES, worker) and wrong('token without worker', '', worker) then
      redis.call('HDEL', T .. ':tokens', worker)
    end
  end
end

-- What a worker is said to hold is what it runs.
local function check_claims(worker)
  local claims = redis.call('HGETALL', held_key(worker))
  for i = 1, #claims, 2 do
    local token, claim = claims[i], claims[i + 1]
    local ids, left = held_of(worker, token, claim), left_of(claim)
    if (#ids ~= left or left == 0) and wrong('held without a run', '', worker) then
      if #ids == 0 then redis.call('HDEL', held_key(worker), token) end
      hold(worker, token, ids)
      count('running', #ids - left)
    end
  end
end

-- A running job is among what its worker holds.
local hands = {}
local function check_held(jid, r)
  local hand = r.worker .. ' ' .. r.token
  if not hands[hand] then
    hands[hand] = {}
    local claim = redis.call('HGET', held_key(r.worker), r.token) or ''
    for at = 5, #claim, 16 do hands[hand][string.sub(claim, at, at + 15)] = true end
  end
  if not hands[hand][jid] and wrong('not held', jid, r.worker) then
    local ids = {jid}
    for id in pairs(hands[hand]) do ids[#ids + 1] = id end
    hands[hand][jid] = true
    hold(r.worker, r.token, ids)
  end
end

-- Shelves

local function length(key)
  return redis.call('LLEN', key) + redis.call('LLEN', front_key(key))
end

-- The lists of a shelf, and which bytes of a record its live entries agree with.
local function lists_of(shelf)
  if FINAL[shelf] then return {{key = KEPT[FINAL[shelf]], state = FINAL[shelf], whose = ''}} end
  local lists = {}
  for _, priority in ipairs(priorities(shelf)) do
    lists[#lists + 1] = {key = lane_key(shelf, priority), state = QUEUED, whose = sign(shelf, priority)}
  end
  return lists
end

local function entries_in(shelf)
  local entries = 0
  for _, list in ipairs(lists_of(shelf)) do entries = entries + length(list.key) end
  return entries
end

-- How many jobs a shelf is said to hold; nil when nothing is said.
local function said_of(shelf)
  if FINAL[shelf] then return tonumber(redis.call('HGET', COUNTERS, 'kept_' .. shelf)) end
  return tonumber(redis.call('HGET', DEPTH, shelf))
end

-- Lanes that are there while their queue does not name them.
local function name_lanes(queue)
  for priority = -100, 100 do
    if length(lane_key(queue, priority)) > 0 and not redis.call('ZSCORE', lanes_key(queue), priority)
        and wrong('lane not named', '', queue .. ':' .. priority) then
      redis.call('ZADD', lanes_key(queue), -priority, priority)
    end
  end
end

-- Hand each job that has a live entry on a shelf to `take`, once, even where it has two that are alike.
local function each_live(shelf, take)
  local seen = {}
  for _, list in ipairs(lists_of(shelf)) do
    for _, key in ipairs({front_key(list.key), list.key}) do
      local first, entries = 0, {}
      repeat
        entries = redis.call('LRANGE', key, first, first + 999)
        local raws, jids = raws_of(entries)
        for i, raw in ipairs(raws) do
          local jid = jids[i]
          if not seen[jid] and is_filed(raw, entries[i], list.state) and string.find(raw, list.whose, 9, true) == 9 then
            seen[jid] = true
            take(jid)
          end
        end
        first = first + 1000
      until #entries < 1000
    end
  end
end

-- A shelf then says how many live entries it has. Each is handed to `take`, too, when there is one.
local function recount(shelf, take)
  if not FINAL[shelf] then name_lanes(shelf) end
  local number = 0
  each_live(shelf, function(jid)
    number = number + 1
    if take then take(jid) end
  end)
  local said = said_of(shelf)
  if (said or 0) ~= number or not said and not FINAL[shelf] then
    if FINAL[shelf] then
      if wrong('counter', '', 'kept_' .. shelf) then redis.call('HSET', COUNTERS, 'kept_' .. shelf, number) end
    elseif wrong('depth', '', shelf) then
      redis.call('HSET', DEPTH, shelf, number)
    end
  end
  return number
end

-- A job without an entry on its shelf gets one, at the end. An entry that it had after all is a tombstone then.
local function refile(jid, r)
  if r.state == QUEUED then
    if wrong('not in its lane', jid, r.queue) then to_lane(jid, r) end
  elseif wrong('not kept', jid, NAMES[r.state]) then
    r.place = file(pushing('RPUSH', KEPT[r.state]), jid)
    save(jid, r)
    count('kept_' .. NAMES[r.state], 1)
  end
end

-- Limits

-- A slot is in the hands of a job under way that comes under its limit.
local function check_holder(entry)
  local limit, jid = string.sub(entry, 1, 16), string.sub(entry, 17)
  local r = load(jid)
  local under_way = r and r.rules and (r.state == QUEUED or r.state == RUNNING)
  if not (under_way and (limits().slot_of(jid)) == limit) and wrong('slot without job', jid, 'slots') then
    redis.call('ZREM', SLOTS, entry)
    limits().open(limit)
  end
end

-- One limit, once a script: who has its slots, and that none is free while others wait. What is free goes to them at the commit.
local limits_seen = {}
local function check_limit(limit)
  local it = limits()
  local first, last = it.ends_of(limit)
  if limits_seen[limit] then return end
  limits_seen[limit] = true
  for _, entry in ipairs(redis.call('ZRANGEBYLEX', SLOTS, first, last, 'LIMIT', 0, HANDED_ON)) do check_holder(entry) end
  if it.opened(limit) then return end
  local held, most, known = it.taken(limit), it.slots_of(limit)
  if redis.call('ZLEXCOUNT', WAITING, first, last) > 0 then
    if not known and wrong('slots unknown', '', 'limits') then redis.call('HSET', LIMITS, limit, most) end
    if held < most and wrong('slot not handed on', '', 'blocked') then it.open(limit) end
  elseif held == 0 and known and wrong('left over', '', 'limits') then
    redis.call('HDEL', LIMITS, limit)
  end
end

-- A job under a limit has a slot while it is under way, and its turn while it is blocked.
local function check_slot(jid, r)
  local it = limits()
  local limit, _, turn = it.slot_of(jid)
  if r.state ~= BLOCKED then
    if limit and redis.call('ZSCORE', SLOTS, limit .. jid) ~= '0' and wrong('no slot', jid, 'slots') then
      redis.call('ZADD', SLOTS, 0, limit .. jid)
    end
  elseif not limit then
    if wrong('waits for nothing', jid, 'blocked') then to_lane(jid, r) end
  else
    local entry = it.turn_of(limit, r.priority, turn, jid)
    if redis.call('ZSCORE', WAITING, entry) ~= '0' and wrong('no turn', jid, 'blocked') then
      redis.call('ZADD', WAITING, 0, entry)
    end
    check_limit(limit)
  end
end

-- Records

-- What is left of a job becomes a failed one, so that a person sees it and can retry it.
local function bury(jid, reason, spec, apart)
  finish(jid, {
    state = RUNNING, priority = 0, attempt = 0, crashes = 0, place = 0, enqueued = now, queue = 'default', due = 0, expires = 0,
    started = 0, finished = 0, worker = '', token = '', reason = '', apart = apart, spec = spec,
  }, FAILED, reason)
end

-- A damaged record leaves the shelf where its first bytes, if they are left, let it count.
local function uncount(raw)
  local state, name_ends = string.byte(raw, 2), 10 + (string.byte(raw, 10) or 256)
  if KEPT[state] then
    count('kept_' .. NAMES[state], -1)
  elseif state == QUEUED and #raw >= name_ends then
    deepen(string.sub(raw, 11, name_ends), -1)
  end
end

-- One record in its place. Of one that stands on a shelf `check_filed` says what can be said.
local function check(jid, r, lease, check_filed)
  if r.state == BLOCKED or r.rules and (r.state == QUEUED or r.state == RUNNING) then check_slot(jid, r) end
  if r.state == DELAYED then
    local due = redis.call('ZSCORE', DUE, jid)
    if tonumber(due) ~= r.due and wrong('not due', jid, 'due') then redis.call('ZADD', DUE, r.due, jid) end
  elseif r.state == RUNNING then
    check_held(jid, r)
    check_lease(r.worker, lease)
  elseif r.state ~= BLOCKED then
    return check_filed(jid, r, r.state == QUEUED and r.queue or NAMES[r.state])
  end
end

-- A page of records. `check_filed` answers true when others of the same kind (the same lane, the same final state) need no look:
-- they are not taken apart then.
local settled = {}
local function check_records(cursor, number, lease, check_filed)
  local sub, byte = string.sub, string.byte
  local page = redis.call('HSCAN', JOBS, cursor, 'COUNT', number)
  for i = 1, #page[2], 2 do
    local jid, raw = page[2][i], page[2][i + 1]
    local name_ends = 10 + (byte(raw, 10) or 256)
    local kind = sub(raw, 1, 2) .. (byte(raw, 2) == QUEUED and sub(raw, 9, name_ends) or '')
    if not settled[kind] or #raw < name_ends then
      local r = known[jid] or unpacked(raw)
      if r then
        settled[kind] = check(jid, r, lease, check_filed)
      elseif wrong('record unreadable', jid, 'jobs') then
        uncount(raw)
        bury(jid, 'record unreadable', raw)
      end
    end
  end
  return page[1], #page[2] / 2
end

-- What is there now. The counters of events only rise and cannot be checked. To be called with nothing uncommitted.
local function check_counters()
  local running = 0
  for _, worker in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do running = running + held_count(worker) end
  if tonumber(redis.call('HGET', COUNTERS, 'running') or 0) ~= running and wrong('counter', '', 'running') then
    redis.call('HSET', COUNTERS, 'running', running)
  end
end
