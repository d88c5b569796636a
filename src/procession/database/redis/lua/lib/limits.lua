-- Limits: a job that comes under one has a slot of it while it is queued or runs, and where none is free it is blocked. Slots are
-- taken and given back by the job's own moves, in the same script; so each is in the hands of a job, never a lock on its own.
-- What a script gives back it hands on when it commits: to who waits, by priority, then who came first.
--
-- rules of such a job: the rules of any, then limit (16), slots by its own word (4), turn (6), 0 unless it waits
-- slots:   limit (16), jid                                            in order of bytes, as is the next
-- blocked: limit (16), 100 less the priority, turn (6), jid
-- limits:  limit (16) → how many slots, by the newest word            while a job has a slot of it

local SLOTS, WAITING, LIMITS = T .. ':slots', T .. ':blocked', T .. ':limits'
local RULES_SIZE, SLOT, TURN, HANDED_ON = 35, '>c16I4I6', '>c16BI6c16', 1000
local opened, in_order, entered = {}, {}, {}

-- The limit of a job, its own word on it, its turn, and the rules in front; no limit for a job that has none, nothing where its
-- rules are lost or damaged.
local function slot_of(jid)
  local row = redis.call('HGET', RULES, jid) or ''
  local limit, most, turn
  if #row == RULES_SIZE + 26 then limit, most, turn = struct.unpack(SLOT, row, RULES_SIZE + 1) end
  return limit, most, turn, #row >= RULES_SIZE and string.sub(row, 1, RULES_SIZE) or nil
end

local function write_slot(jid, rules, limit, most, turn)
  redis.call('HSET', RULES, jid, rules .. struct.pack(SLOT, limit, most, turn))
end

local function turn_of(limit, priority, turn, jid)
  return struct.pack(TURN, limit, 100 - priority, turn, jid)
end

-- Both ends of what belongs to a limit, in `slots` and in `blocked`.
local function ends_of(limit)
  return '[' .. limit, '[' .. limit .. string.rep('\255', 24)
end

local function taken(limit)
  return redis.call('ZLEXCOUNT', SLOTS, ends_of(limit))
end

local function open(limit)
  if opened[limit] then return end
  opened[limit] = true
  in_order[#in_order + 1] = limit
end

-- The newest word on a limit counts, as long as it is in use. `ready`: the job that brings it asks for a slot now.
local function heed(limit, most, ready)
  local before = tonumber(redis.call('HGET', LIMITS, limit))
  if before ~= most and (before or ready) then redis.call('HSET', LIMITS, limit, most) end
  if before and most > before then open(limit) end
end

-- True when the job may go on into its lane. Where its limit has no slot free it is blocked.
local function takes_slot(jid, r)
  if not r.rules then return true end
  local limit, most, _, rules = slot_of(jid)
  if not limit then return true end
  local said = tonumber(redis.call('HGET', LIMITS, limit))
  if not said then redis.call('HSET', LIMITS, limit, most) end
  if not opened[limit] and taken(limit) < (said or most) then
    redis.call('ZADD', SLOTS, 0, limit .. jid)
    return true
  end
  local turn = redis.call('HINCRBY', T .. ':meta', 'turns', 1)
  write_slot(jid, rules, limit, most, turn)
  redis.call('ZADD', WAITING, 0, turn_of(limit, r.priority, turn, jid))
  r.state, r.due, r.place = BLOCKED, 0, 0
  save(jid, r)
  return false
end

-- Into its lane, where the same script may have filed it before: that entry is good again when its job is.
local function enter(jid, r)
  if entered[jid] then
    deepen(r.queue, 1)
    r.state, r.place = QUEUED, place_now
    save(jid, r)
  else
    entered[jid] = true
    to_lane(jid, r)
  end
end

-- A job is ready: to its lane, or blocked.
local function admit(jid, r)
  if takes_slot(jid, r) then enter(jid, r) end
end

-- To be called while `r.state` is the one that the job leaves: it gives back its slot, or its turn.
local function give_back(jid, r)
  if r.state == DELAYED or r.state >= PROCESSED then return end
  local limit, _, turn = slot_of(jid)
  if not limit then return end
  if r.state == BLOCKED then
    redis.call('ZREM', WAITING, turn_of(limit, r.priority, turn, jid))
  else
    redis.call('ZREM', SLOTS, limit .. jid)
    open(limit)
  end
end

-- Hand on to those who wait as many slots of one limit as are free. One who does not wait, by its record, is passed over.
local function hand_on_of(limit)
  local most, held, handed = tonumber(redis.call('HGET', LIMITS, limit)), taken(limit), 0
  local first, last = ends_of(limit)
  while handed < HANDED_ON and held < (most or math.huge) do
    local number = most and math.min(most - held, HANDED_ON - handed) or 1
    local turns, jids = redis.call('ZRANGEBYLEX', WAITING, first, last, 'LIMIT', 0, number), {}
    if #turns == 0 then break end
    for i, turn in ipairs(turns) do jids[i] = string.sub(turn, -16) end
    load_all(jids)
    for i, jid in ipairs(jids) do
      local r = load(jid)
      redis.call('ZREM', WAITING, turns[i])
      if r and r.state == BLOCKED then
        if not most then
          most = select(2, slot_of(jid)) or 1
          redis.call('HSET', LIMITS, limit, most)
        end
        redis.call('ZADD', SLOTS, 0, limit .. jid)
        r.due, held, handed = now, held + 1, handed + 1
        enter(jid, r)
      else
        count('repaired', 1)
      end
    end
  end
  if held == 0 then redis.call('HDEL', LIMITS, limit) end
end

hand_on = function()
  for _, limit in ipairs(in_order) do hand_on_of(limit) end
  opened, in_order = {}, {}
end
