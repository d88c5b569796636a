-- Lanes: one list of ids per queue and priority, and a small sorted set that says which lane is next.
-- An entry is a job's id and two bytes that are new for each time it queues. No removal searches a list: an entry that its
-- job's record does not name any more is a tombstone, and a claim steps over it.
-- During a compaction a lane has an older part, `front`, that is emptied first.

local TOMBSTONES = 100

local function lane_key(queue, priority)
  return T .. ':lane:' .. queue .. ':' .. priority
end

local function front_key(queue, priority)
  return T .. ':front:' .. queue .. ':' .. priority
end

local function lanes_key(queue)
  return T .. ':lanes:' .. queue
end

-- The two bytes: a counter of the shard, read once and written once per script.
local places, placed
local function next_place()
  places = places or tonumber(redis.call('HGET', T .. ':meta', 'places') or 0)
  placed = (placed or 0) + 1
  return (places + placed) % 65536
end

local function split(entry)
  return string.sub(entry, 1, 16), (struct.unpack('>H', string.sub(entry, 17, 18)))
end

local depths = {}
local function deepen(queue, by)
  depths[queue] = (depths[queue] or 0) + by
  count('queued', by)
end
local function write_depths()
  for queue, by in pairs(depths) do
    if by ~= 0 then redis.call('HINCRBY', T .. ':depth', queue, by) end
  end
  if placed then redis.call('HINCRBY', T .. ':meta', 'places', placed) end
end

-- Make a job queued, in its lane and in its record; `front` for a job that was given back.
local function to_lane(jid, r, front)
  r.state, r.place = QUEUED, next_place()
  save(jid, r)
  local key = lane_key(r.queue, r.priority)
  if front then
    local older = front_key(r.queue, r.priority)
    if redis.call('EXISTS', older) == 1 then key = older end
  end
  if redis.call(front and 'LPUSH' or 'RPUSH', key, jid .. struct.pack('>H', r.place)) == 1 then
    redis.call('ZADD', lanes_key(r.queue), -r.priority, r.priority)
  end
  deepen(r.queue, 1)
end

local function priorities(queue)
  return redis.call('ZRANGE', lanes_key(queue), 0, -1)
end

-- Pop entries from the two parts of a lane, oldest first; forget the lane when nothing is left.
local function pop(queue, priority, limit)
  local ids = redis.call('LPOP', front_key(queue, priority), limit) or {}
  local wanted = limit - #ids
  if wanted > 0 then
    for _, jid in ipairs(redis.call('LPOP', lane_key(queue, priority), wanted) or {}) do ids[#ids + 1] = jid end
    if #ids < limit then redis.call('ZREM', lanes_key(queue), priority) end
  end
  return ids
end

local function is_live(r, place, queue, priority)
  return r and r.state == QUEUED and r.place == place and r.queue == queue and r.priority == tonumber(priority)
end

-- Pop up to `limit` live jobs of one queue, the highest priority first, and hand each to `take(jid, record)`,
-- which answers true when it took one of the places. Returns how many places were taken.
local function pop_live(queue, limit, take)
  local taken, stepped = 0, 0
  for _, priority in ipairs(priorities(queue)) do
    while taken < limit and stepped < TOMBSTONES do
      local wanted = math.min(limit - taken, 1000)
      local ids = pop(queue, priority, wanted)
      if #ids == 0 then break end
      local jids, at = {}, {}
      for i, entry in ipairs(ids) do jids[i], at[i] = split(entry) end
      local records = redis.call('HMGET', STATES, unpack(jids))
      for i, jid in ipairs(jids) do
        local r = records[i] and unpacked(records[i])
        if is_live(r, at[i], queue, priority) then
          deepen(queue, -1)
          if take(jid, r) then taken = taken + 1 end
        else
          stepped = stepped + 1
        end
      end
      if #ids < wanted then break end
    end
  end
  return taken, stepped
end
