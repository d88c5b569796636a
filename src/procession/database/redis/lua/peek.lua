-- The jobs that are claimed next, in order; from the rear, those that are claimed last, the last one first.
-- moves:
-- flags: no-writes
-- args: now:int queue limit:int rear:int
-- reply: rows
-- uses: record lanes rows

local reply = {}

local function walk(key, priority)
  local at = 0
  while #reply < limit and at < 1000 do
    local first, last = at, at + 99
    if rear == 1 then first, last = -at - 100, -at - 1 end
    local ids = redis.call('LRANGE', key, first, last)
    if #ids == 0 then return end
    for i = 1, #ids do
      local jid, place = struct.unpack(ENTRY, ids[rear == 1 and #ids + 1 - i or i])
      if #reply < limit and is_live(load(jid), place, queue, priority) then add_row(reply, jid, '') end
    end
    at = at + 100
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
