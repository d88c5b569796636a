-- Store schedules. One that is stored just so already keeps its next instant. `declared`: 1 it stands in code, 0 it does not, 2 as it was.
-- moves:
-- flags:
-- args: now:int declared:int most:int *plans
-- each: name, asked, next_at
-- reply: 1 new or changed | 0 as it was, in order; only -1 for a schedule too many
-- uses: record schedules

local number = redis.call('HLEN', ASKED)
for i = 1, #plans, 3 do number = number + 1 - redis.call('HEXISTS', ASKED, plans[i]) end
if number > most then return {-1} end

if declared == 1 then redis.call('HSET', META, 'declared', 1) end
local reply, news = {}, false
for i = 1, #plans, 3 do
  local name, asked = plans[i], plans[i + 1]
  local changed, rested = redis.call('HGET', ASKED, name) ~= asked, is_put_off(name)
  if declared == 1 then redis.call('ZADD', DECLARED, now, name) elseif declared == 0 then redis.call('ZREM', DECLARED, name) end
  if changed or rested then
    local s = standing(name)
    if changed then
      s.next_at, s.waiting = tonumber(plans[i + 2]), nil
      redis.call('HSET', ASKED, name, asked)
    end
    stand(name, s, true)
    news = true
  end
  reply[#reply + 1] = changed and 1 or 0
end
if news then call_workers() end
return reply
