-- Let schedules not be due.
-- moves:
-- flags: allow-oom
-- args: now:int reason *names
-- reply: 1 done | 0 not there, in order
-- uses: record schedules

local reply = {}
for i, name in ipairs(names) do
  reply[i] = redis.call('HEXISTS', ASKED, name)
  if reply[i] == 1 then
    local s = standing(name)
    s.paused_at, s.reason, s.next_at, s.waiting = now, reason, 0, nil
    stand(name, s, false)
  end
end
return reply
