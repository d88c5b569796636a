-- Lanes: one list of entries per queue and priority, and a small sorted set that says which lane is next. Any list of
-- entries has an older part, `:front`, while it is compacted; it is emptied first.

local TOMBSTONES = 100
local LOOKED_THROUGH = 10000  -- most entries of a queue that who only looks goes through: ten milliseconds
local UNTOUCHED = '\0\0\0\0\0\0'  -- place, attempt, crashes, flags: its first place, and it has neither run nor been planned

local function lane_key(queue, priority)
  return T .. ':lane:' .. queue .. ':' .. priority
end

local function lanes_key(queue)
  return T .. ':lanes:' .. queue
end

local function front_key(key)
  return key .. ':front'
end

-- What is going to be pushed to a lane, whose bell rings; `front` for a job that was given back. The lane of the last one is kept at
-- hand: most have the same.
local lane, lane_of, lane_at, lane_front
local function lane_for(queue, priority, front)
  if not lane or lane.done or queue ~= lane_of or priority ~= lane_at or front ~= lane_front then
    local key = lane_key(queue, priority)
    redis.call('ZADD', lanes_key(queue), -priority, priority)
    if front and redis.call('EXISTS', front_key(key)) == 1 then key = front_key(key) end
    lane, lane_of, lane_at, lane_front = pushing(front and 'LPUSH' or 'RPUSH', key), queue, priority, front
    ring(queue)
  end
  return lane
end

local function to_lane(jid, r, front)
  r.state, r.place = QUEUED, file(lane_for(r.queue, r.priority, front), jid)
  deepen(r.queue, 1)
  save(jid, r)
end

local function priorities(queue)
  return redis.call('ZRANGE', lanes_key(queue), 0, -1)
end

-- Pop entries from the two parts of a list, oldest first.
local function pop(key, limit)
  local entries = redis.call('LPOP', front_key(key), limit) or nil
  if not entries then return redis.call('LPOP', key, limit) or {} end
  if #entries < limit then
    for _, entry in ipairs(redis.call('LPOP', key, limit - #entries) or {}) do entries[#entries + 1] = entry end
  end
  return entries
end

-- What the record of each job in a lane has in the bytes from 9 on. A priority that is no number has no lane, and who pops takes it
-- out of the set.
local function sign(queue, priority)
  return struct.pack('>bBc0', tonumber(priority) or 0, #queue, queue)
end

local function is_queued(raw, entry, whose)
  return is_filed(raw, entry, QUEUED) and string.find(raw, whose, 9, true) == 9
end

-- Since when a job is ready; one that was given back has been so since it was last taken, at least.
local function ready_since(r)
  return r.due > 0 and r.due or r.started > 0 and r.started or r.enqueued
end

-- Show the live jobs of a queue to `see(jid, raw)`, in the order in which they are claimed or, from the `rear`, the other way round,
-- until it answers true. The `first` so many are mostly enough; where tombstones stand in front, more are read.
local function look_through(queue, rear, first, see)
  local order, left = priorities(queue), LOOKED_THROUGH
  for i = 1, #order do
    local priority = order[rear and #order + 1 - i or i]
    local lane, whose = lane_key(queue, priority), sign(queue, priority)
    for _, key in ipairs(rear and {lane, front_key(lane)} or {front_key(lane), lane}) do
      local at, step = 0, first
      while left > 0 do
        local from, to = at, at + step - 1
        if rear then from, to = -at - step, -at - 1 end
        local entries = redis.call('LRANGE', key, from, to)
        if #entries == 0 then break end
        local raws, jids = raws_of(entries)
        for j = 1, #entries do
          local it = rear and #entries + 1 - j or j
          if is_queued(raws[it], entries[it], whose) and see(jids[it], raws[it]) then return end
        end
        at, left, step = at + step, left - #entries, 100
      end
    end
  end
end

-- Pop up to `limit` live jobs of one queue, the highest priority first, and hand each to `take(jid, raw, whose)`, which answers true
-- when it took one of the places; `whose` is what stands in front of `enqueued`, from 9 on, in one that is untouched, else false.
-- `lanes` says which priorities instead, and in which order. Answers how many were taken.
--
-- A job may have two entries that are alike: one that was removed and enqueued again under its id, or put off and back by one script.
-- So what was handed on once is not again in the same script, which reads records as they were before it.
local handed = {}
local function pop_live(queue, limit, take, lanes)
  local taken, stepped, live, sub, find = 0, 0, 0, string.sub, string.find
  for _, priority in ipairs(lanes or priorities(queue)) do
    local whose = sign(queue, priority)
    local head = string.char(VERSION, QUEUED) .. UNTOUCHED .. whose
    while taken < limit and stepped < TOMBSTONES do
      local wanted = math.min(limit - taken, 1000)
      local entries = pop(lane_key(queue, priority), wanted)
      local raws, jids = raws_of(entries)
      for i = 1, #entries do
        local jid, raw = jids[i], raws[i]
        local untouched = raw and jid == entries[i] and find(raw, head, 1, true) == 1
        if not handed[jid] and (untouched or is_queued(raw, entries[i], whose)) then
          handed[jid], live = true, live + 1
          if take(jid, raw, untouched and whose) then taken = taken + 1 else stepped = stepped + 1 end
        else
          stepped = stepped + 1
        end
      end
      if #entries < wanted then
        redis.call('ZREM', lanes_key(queue), priority)
        break
      end
    end
  end
  if live > 0 then deepen(queue, -live) end
  return taken
end
