-- Schedules that are due. One that nobody declares any more rests, and is forgotten in the end, but not at once: a clock that jumped
-- forward makes old what workers declare, who then have time to say so.
-- moves:
-- flags: allow-oom
-- args: now:int limit:int
-- reply: now next_due, then rows of name asked state declared_at
-- uses: record schedules

local reply = {now, 0}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', LOOKS, '-inf', now, 'LIMIT', 0, limit)) do
  if lapsed(name) then
    if is_put_off(name) and declared_at(name) < now - FORGOTTEN then remove_schedule(name) else put_off(name, RESTING) end
  else
    local row = schedule_row(name)
    if row then reply[#reply + 1] = row else remove_schedule(name) end
  end
end
reply[2] = tonumber(redis.call('ZRANGEBYSCORE', LOOKS, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or 0)
return reply
