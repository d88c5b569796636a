-- All counters.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: names and numbers in turn
-- uses: record

local reply = redis.call('HGETALL', T .. ':counters')
local sizes = {delayed = 'due', kept_processed = 'processed', kept_failed = 'failed', kept_cancelled = 'cancelled'}
for name, key in pairs(sizes) do
  reply[#reply + 1] = name
  reply[#reply + 1] = redis.call('ZCARD', T .. ':' .. key)
end
return reply
