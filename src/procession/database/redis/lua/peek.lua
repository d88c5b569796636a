-- The jobs that are claimed next, in order; from the rear, those that are claimed last, the last one first.
-- moves:
-- flags: no-writes
-- args: now:int queue limit:int rear:int
-- reply: rows
-- uses: record lanes rows

local function walk(key, priority)
  local whose = sign(queue, priority)
  local at, step = 0, math.min(limit, 100)  -- mostly no tombstone is among the first
  while #rows[1] < limit and at < 1000 do
    local first, last = at, at + step - 1
    if rear == 1 then first, last = -at - step, -at - 1 end
    local entries = redis.call('LRANGE', key, first, last)
    if #entries == 0 then return end
    local raws, jids = raws_of(entries)
    for i = 1, #entries do
      if #rows[1] == limit then return end
      local it = rear == 1 and #entries + 1 - i or i
      if is_queued(raws[it], entries[it], whose) then add_job(jids[it], raws[it], '') end
    end
    at, step = at + step, 100
  end
end

local order = priorities(queue)
for i = 1, #order do
  local priority = order[rear == 1 and #order + 1 - i or i]
  local lane = lane_key(queue, priority)
  local first, second = front_key(lane), lane
  if rear == 1 then first, second = second, first end
  walk(first, priority)
  walk(second, priority)
end
return filled()
