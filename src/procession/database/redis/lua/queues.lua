-- Every queue that was ever used or paused.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: rows of name queued paused oldest
-- uses: record lanes

local reply, depth = {}, redis.call('HGETALL', T .. ':depth')
for i = 1, #depth, 2 do
  local queue, oldest = depth[i], 0
  for _, priority in ipairs(priorities(queue)) do
    local lane = lane_key(queue, priority)
    for _, key in ipairs({front_key(lane), lane}) do
      for _, entry in ipairs(oldest == 0 and redis.call('LRANGE', key, 0, 99) or {}) do
        local jid, place = struct.unpack(ENTRY, entry)
        local r = oldest == 0 and load(jid)
        if r and is_live(r, place, queue, priority) then oldest = r.enqueued end
      end
    end
  end
  reply[#reply + 1] = {queue, tonumber(depth[i + 1]), redis.call('HGET', T .. ':paused', queue), oldest}
end
return reply
