-- Limits: a job that comes under one has a slot of it while it is queued or runs, and where none is free it is blocked. Slots are
-- taken and given back by the job's own moves, in the same script; so each is in the hands of a job, never a lock on its own.
-- What a script gives back it hands on when it commits: to who waits, by priority, then who came first.
--
-- rules of such a job: the rules of any, then limit (16), slots by its own word (4), turn (6), 0 as long as it never waited
-- slots:   limit (16), jid                                            in order of bytes, as is the next
-- blocked: limit (16), 100 less the priority, turn (6), jid
-- limits:  limit (16) → how many slots, by the newest word            while a job has a slot of it

-- Made when the first job under a limit comes by, since most calls of a script need nothing of it; and in one table, since a script
-- may have 200 local variables.

local SLOTS = T .. ':slots'
local WAITING = T .. ':blocked'
local LIMITS = T .. ':limits'
local RULES_SIZE, SLOT_ROW, TURN_ROW, HANDED_ON, LOOKED_AT = 35, '>c16I4I6', '>c16BI6c16', 1000, 10

local function limits()
  if limits_made then return limits_made end
  local opened, in_order = {}, {}
  local it = {}
  limits_made = it

  -- The limit of a job, its own word on it, its turn, and the rules in front; no limit for a job that has none, nothing where its
  -- rules are lost or damaged.
  function it.slot_of(jid)
    local row = redis.call('HGET', RULES, jid) or ''
    local limit, most, turn
    if #row == RULES_SIZE + 26 then limit, most, turn = struct.unpack(SLOT_ROW, row, RULES_SIZE + 1) end
    return limit, most, turn, #row >= RULES_SIZE and string.sub(row, 1, RULES_SIZE) or nil
  end

  function it.write_slot(jid, rules, limit, most, turn)
    redis.call('HSET', RULES, jid, rules .. struct.pack(SLOT_ROW, limit, most, turn))
  end

  function it.turn_of(limit, priority, turn, jid)
    return struct.pack(TURN_ROW, limit, 100 - priority, turn, jid)
  end

  -- Both ends of what belongs to a limit, in `slots` and in `blocked`.
  function it.ends_of(limit)
    return '[' .. limit, '[' .. limit .. string.rep('\255', 24)
  end

  function it.taken(limit)
    return redis.call('ZLEXCOUNT', SLOTS, it.ends_of(limit))
  end

  function it.opened(limit)
    return opened[limit]
  end

  function it.open(limit)
    if opened[limit] then return end
    opened[limit] = 0  -- how many asked since
    in_order[#in_order + 1] = limit
  end

  -- The newest word on a limit counts, as long as it is in use. `ready`: the job that brings it asks for a slot now.
  function it.heed(limit, most, ready)
    local before = tonumber(redis.call('HGET', LIMITS, limit))
    if before ~= most and (before or ready) then redis.call('HSET', LIMITS, limit, most) end
    if before and most > before then it.open(limit) end
  end

  local function block(jid, r, turn)
    local limit, most, _, rules = it.slot_of(jid)
    it.write_slot(jid, rules, limit, most, turn)
    redis.call('ZADD', WAITING, 0, it.turn_of(limit, r.priority, turn, jid))
    r.state, r.due, r.place = BLOCKED, 0, 0
    save(jid, r)
  end

  -- True when a job that has a slot, is less urgent and not begun made way: the least urgent of the first ten. It is the first of
  -- its priority to get one again.
  local function makes_way(limit, priority)
    local first, last = it.ends_of(limit)
    local jids, found, least = {}, nil, nil
    for i, entry in ipairs(redis.call('ZRANGEBYLEX', SLOTS, first, last, 'LIMIT', 0, LOOKED_AT)) do jids[i] = string.sub(entry, 17) end
    load_all(jids)
    for _, jid in ipairs(jids) do
      local r = load(jid)
      if r and r.rules and r.state == QUEUED and r.priority < priority and (not least or r.priority <= least.priority) then
        found, least = jid, r
      end
    end
    if not found or (it.slot_of(found)) ~= limit then return false end
    redis.call('ZREM', SLOTS, limit .. found)
    deepen(least.queue, -1)
    block(found, least, 0)
    return true
  end

  -- True when the job may go on into its lane. Where its limit has no slot free it is blocked.
  function it.takes_slot(jid, r)
    if not r.rules then return true end
    local limit, most = it.slot_of(jid)
    if not limit then return true end
    local said = tonumber(redis.call('HGET', LIMITS, limit))
    if not said then redis.call('HSET', LIMITS, limit, most) end
    local room = it.taken(limit) < (said or most)
    if room and redis.call('ZLEXCOUNT', WAITING, it.ends_of(limit)) > 0 then it.open(limit) end  -- they were too many for one call
    if not opened[limit] and (room or makes_way(limit, r.priority)) then
      redis.call('ZADD', SLOTS, 0, limit .. jid)
      return true
    end
    if opened[limit] then opened[limit] = opened[limit] + 1 end
    block(jid, r, redis.call('HINCRBY', T .. ':meta', 'turns', 1))
    return false
  end

  -- A job is ready: to its lane, or blocked.
  function it.admit(jid, r)
    if it.takes_slot(jid, r) then to_lane(jid, r) end
  end

  -- To be called while `r.state` is the one that the job leaves: it gives back its slot, or its turn.
  function it.give_back(jid, r)
    if r.state == DELAYED or r.state >= PROCESSED then return end
    local limit, _, turn = it.slot_of(jid)
    if not limit then return end
    if r.state == BLOCKED then
      redis.call('ZREM', WAITING, it.turn_of(limit, r.priority, turn, jid))
    else
      redis.call('ZREM', SLOTS, limit .. jid)
      it.open(limit)
    end
  end

  -- How many slots a limit has; where that is lost, the word of the next who waits counts. 0: nobody says anything.
  function it.slots_of(limit)
    local most = tonumber(redis.call('HGET', LIMITS, limit))
    if most then return most, true end
    local first, last = it.ends_of(limit)
    local turn = redis.call('ZRANGEBYLEX', WAITING, first, last, 'LIMIT', 0, 1)[1]
    return turn and (select(2, it.slot_of(string.sub(turn, -16))) or 1) or 0, false
  end

  -- Hand on to those who wait as many slots of one limit as are free, `bound` at most. One who does not wait, by its record, is passed
  -- over.
  local function hand_on_of(limit, bound)
    local most, known = it.slots_of(limit)
    local held, handed = it.taken(limit), 0
    local first, last = it.ends_of(limit)
    if not known and most > 0 then redis.call('HSET', LIMITS, limit, most) end
    while handed < bound and held < most do
      local turns, jids = redis.call('ZRANGEBYLEX', WAITING, first, last, 'LIMIT', 0, math.min(most - held, bound - handed)), {}
      if #turns == 0 then break end
      for i, turn in ipairs(turns) do jids[i] = string.sub(turn, -16) end
      load_all(jids)
      for i, jid in ipairs(jids) do
        local r = load(jid)
        redis.call('ZREM', WAITING, turns[i])
        if r and r.state == BLOCKED then
          redis.call('ZADD', SLOTS, 0, limit .. jid)
          r.due, held, handed = now, held + 1, handed + 1
          to_lane(jid, r)
        else
          count('repaired', 1)
        end
      end
    end
    if held == 0 then redis.call('HDEL', LIMITS, limit) end
  end

  function it.hand_on()
    for _, limit in ipairs(in_order) do hand_on_of(limit, math.max(HANDED_ON, opened[limit])) end
    opened, in_order = {}, {}
  end

  return it
end
