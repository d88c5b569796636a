-- Make due jobs ready, the longest due first.
-- moves: promote expire
-- flags: allow-oom
-- args: now:int limit:int
-- reply: moved now next_due
-- uses: record lanes finish

local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)
local rung = {}
for _, jid in ipairs(due) do
  local r = load(jid)
  redis.call('ZREM', DUE, jid)
  if r and r.state == DELAYED then
    if r.expires > 0 and r.expires <= now then
      finish(jid, r, CANCELLED, 'expired')
    else
      r.due = 0
      to_lane(jid, r, false)
      rung[r.queue] = true
    end
  end
end
write_depths()
write_counts()
for queue in pairs(rung) do ring(queue) end
return {#due, now, tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or 0)}
