-- Schedules that are due. One that nobody declares any more rests, and is forgotten in the end.
-- moves:
-- flags: allow-oom
-- args: now:int limit:int
-- reply: now next_due, then rows of name asked state declared_at
-- uses: record schedules

local reply = {now, 0}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', LOOKS, '-inf', now, 'LIMIT', 0, limit)) do
  if lapsed(name) then
    redis.call('ZADD', LOOKS, now + RESTING, name)
    if declared_at(name) < now - FORGOTTEN then remove_schedule(name) end
  else
    local row = schedule_row(name)
    if row then reply[#reply + 1] = row else remove_schedule(name) end
  end
end
reply[2] = tonumber(redis.call('ZRANGEBYSCORE', LOOKS, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or 0)
return reply
