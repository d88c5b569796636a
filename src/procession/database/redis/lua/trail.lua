-- Read what people did, the newest first.
-- moves:
-- flags: no-writes
-- args: now:int before:int limit:int kept:int
-- reply: deeds: number (6 bytes), when (6), JSON
-- uses: record trail

local reply, first = {}, redis.call('LINDEX', TRAIL, 0)
if not first or limit < 1 then return reply end
local count = redis.call('LLEN', TRAIL)
local past = before > 0 and math.min(before - number_of(first), count) or count  -- numbers have no gap
if past < 1 then return reply end
for _, deed in ipairs(redis.call('LRANGE', TRAIL, math.max(past - limit, 0), past - 1)) do
  if moment_of(deed) > now - kept then table.insert(reply, 1, deed) end
end
return reply
