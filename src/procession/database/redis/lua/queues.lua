-- Every queue that was ever used or paused.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: rows of name queued paused oldest
-- uses: record lanes

local function oldest_in(queue)
  local oldest = 0
  look_through(queue, false, 2, function(_, raw)
    local r = unpacked(raw)
    oldest = r and ready_since(r) or 0
    return r
  end)
  return oldest
end

local reply, depth = {}, redis.call('HGETALL', T .. ':depth')
for i = 1, #depth, 2 do
  local queue, queued = depth[i], tonumber(depth[i + 1])
  reply[#reply + 1] = {queue, queued, redis.call('HGET', T .. ':paused', queue), queued > 0 and oldest_in(queue) or 0}
end
return reply
