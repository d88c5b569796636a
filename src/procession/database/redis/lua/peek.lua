-- The jobs that are claimed next, in order; from the rear, those that are claimed last, the last one first.
-- moves:
-- flags: no-writes
-- args: now:int queue limit:int rear:int
-- reply: rows
-- uses: record lanes rows

local reply = {}

local function walk(key, priority)
  local at, step = 0, math.min(limit, 100)  -- mostly no tombstone is among the first
  while #reply < limit and at < 1000 do
    local first, last = at, at + step - 1
    if rear == 1 then first, last = -at - step, -at - 1 end
    local ids = redis.call('LRANGE', key, first, last)
    if #ids == 0 then return end
    for i = 1, #ids do
      if #reply == limit then return end
      local jid, place = struct.unpack(ENTRY, ids[rear == 1 and #ids + 1 - i or i])
      if is_live(load(jid), place, queue, priority) then add_row(reply, jid, '') end
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
return reply
