-- Let paused schedules be due again, at the instant given.
-- moves:
-- flags: allow-oom
-- args: now:int *plans
-- each: name, asked, next_at
-- reply: 1 done | 0 not paused or changed meanwhile, in order
-- uses: record schedules

local reply = {}
for i = 1, #plans, 3 do
  local name, s = plans[i], standing(plans[i])
  local done = s.paused_at and redis.call('HGET', ASKED, name) == plans[i + 1]
  if done then
    s.paused_at, s.reason, s.next_at = nil, nil, tonumber(plans[i + 2])
    stand(name, s, true)
    call_workers()
  end
  reply[#reply + 1] = done and 1 or 0
end
return reply
