-- Forget finished jobs beyond the age or count kept, and clear tombstones out of lists.
-- moves: forget
-- flags: allow-oom
-- args: now:int limit:int processed_age:int processed_bound:int failed_age:int failed_bound:int cancelled_age:int cancelled_bound:int
-- reply: how many were forgotten
-- uses: record held lanes limits finish

local gone_now = 0
local rules = {
  {PROCESSED, processed_age, processed_bound}, {FAILED, failed_age, failed_bound}, {CANCELLED, cancelled_age, cancelled_bound},
}
for _, rule in ipairs(rules) do
  local state, age, bound = unpack(rule)
  gone_now = gone_now + shed(state, limit - gone_now, over_bound(state, bound), now - age, limit + 1000)
end
commit()

-- Compaction: live entries move from a list to its older part in order, tombstones are left behind. When the list is empty
-- the older part becomes the list again. It starts when tombstones outnumber the live by a thousand.
local function compact(key, is_wanted)
  local entries, live = redis.call('LPOP', key, limit) or {}, {}
  for i, raw in ipairs(raws_of(entries)) do
    if is_wanted(raw, entries[i]) then live[#live + 1] = entries[i] end
  end
  call_with('RPUSH', front_key(key), live)
  if redis.call('EXISTS', key) == 0 and redis.call('EXISTS', front_key(key)) == 1 then
    redis.call('RENAME', front_key(key), key)
  end
end

local function entries_in(key)
  local older = redis.call('LLEN', front_key(key))
  return redis.call('LLEN', key) + older, older > 0
end

local depth = redis.call('HGETALL', T .. ':depth')
for i = 1, #depth, 2 do
  local queue, total, parts = depth[i], 0, {}
  for _, priority in ipairs(priorities(queue)) do
    local entries, begun = entries_in(lane_key(queue, priority))
    total = total + entries
    parts[#parts + 1] = {priority, begun}
  end
  local crowded = total > 2 * tonumber(depth[i + 1]) + 1000
  for _, part in ipairs(parts) do
    if crowded or part[2] then
      local key, whose = lane_key(queue, part[1]), sign(queue, part[1])
      compact(key, function(raw, entry) return is_queued(raw, entry, whose) end)
      if entries_in(key) == 0 then redis.call('ZREM', lanes_key(queue), part[1]) end
    end
  end
end
for state, key in pairs(KEPT) do
  local entries, begun = entries_in(key)
  local kept = tonumber(redis.call('HGET', T .. ':counters', 'kept_' .. NAMES[state]) or 0)
  if begun or entries > 2 * kept + 1000 then
    compact(key, function(raw, entry) return is_filed(raw, entry, state) end)
  end
end
return gone_now
