-- Forget finished jobs beyond the age or count kept, and clear tombstones out of lanes.
-- moves: forget
-- flags: allow-oom
-- args: now:int limit:int processed_age:int processed_bound:int failed_age:int failed_bound:int cancelled_age:int cancelled_bound:int
-- reply: how many were forgotten
-- uses: record lanes finish

local gone = 0
local rules = {
  {PROCESSED, processed_age, processed_bound}, {FAILED, failed_age, failed_bound}, {CANCELLED, cancelled_age, cancelled_bound},
}
for _, rule in ipairs(rules) do
  local state, age, bound = unpack(rule)
  if gone < limit then
    local old = redis.call('ZRANGEBYSCORE', KEPT[state], '-inf', now - age, 'LIMIT', 0, limit - gone)
    for _, jid in ipairs(old) do
      redis.call('ZREM', KEPT[state], jid)
      forget(jid)
    end
    gone = gone + #old
  end
  if gone < limit then gone = gone + trim(state, bound, limit - gone) end
end

-- Compaction: live ids move from the lane to its older part in order, tombstones are left behind. When the lane is
-- empty the older part becomes the lane again. It starts when tombstones outnumber the live by a thousand.
local function compact(queue, priority)
  local lane, front = lane_key(queue, priority), front_key(queue, priority)
  local ids = redis.call('LPOP', lane, limit) or {}
  if #ids == 0 then
    if redis.call('EXISTS', front) == 1 then redis.call('RENAME', front, lane) end
    return
  end
  local live = {}
  for _, entry in ipairs(ids) do
    local jid, place = split(entry)
    if is_live(load(jid), place, queue, priority) then live[#live + 1] = entry end
  end
  if #live > 0 then redis.call('RPUSH', front, unpack(live)) end
  if redis.call('EXISTS', lane) == 0 then
    if redis.call('EXISTS', front) == 1 then
      redis.call('RENAME', front, lane)
    else
      redis.call('ZREM', lanes_key(queue), priority)
    end
  end
end

local depth = redis.call('HGETALL', T .. ':depth')
for i = 1, #depth, 2 do
  local queue, entries, parts = depth[i], 0, {}
  for _, priority in ipairs(priorities(queue)) do
    local older = redis.call('LLEN', front_key(queue, priority))
    entries = entries + redis.call('LLEN', lane_key(queue, priority)) + older
    parts[#parts + 1] = {priority, older > 0}
  end
  local crowded = entries > 2 * tonumber(depth[i + 1]) + 1000
  for _, part in ipairs(parts) do
    if crowded or part[2] then compact(queue, part[1]) end
  end
end
return gone
