-- Every queue that was ever used or paused.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: rows of name queued paused oldest
-- uses: record lanes

-- Mostly the first entry is live; only where tombstones stand in front are more read.
local PARTS = {{0, 1}, {2, 99}}

local function oldest_in(queue)
  for _, priority in ipairs(priorities(queue)) do
    local lane, whose = lane_key(queue, priority), sign(queue, priority)
    for _, key in ipairs({front_key(lane), lane}) do
      for _, part in ipairs(PARTS) do
        local entries = redis.call('LRANGE', key, part[1], part[2])
        if #entries == 0 then break end
        for i, raw in ipairs(raws_of(entries)) do
          local r = is_queued(raw, entries[i], whose) and unpacked(raw)
          if r then return r.enqueued end
        end
      end
    end
  end
  return 0
end

local reply, depth = {}, redis.call('HGETALL', T .. ':depth')
for i = 1, #depth, 2 do
  local queue = depth[i]
  reply[#reply + 1] = {queue, tonumber(depth[i + 1]), redis.call('HGET', T .. ':paused', queue), oldest_in(queue)}
end
return reply
