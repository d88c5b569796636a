-- Forget schedules and their history; their jobs stay.
-- moves:
-- flags: allow-oom
-- args: now:int *names
-- reply: 1 done | 0 not there, in order
-- uses: record schedules

local reply = {}
for i, name in ipairs(names) do
  reply[i] = redis.call('HEXISTS', ASKED, name)
  remove_schedule(name)
end
return reply
