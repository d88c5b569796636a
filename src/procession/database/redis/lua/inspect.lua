-- Read what the server says of itself. What this user may not ask is left out.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: now · format · leases that have ended · queues in doubt · the text of INFO
-- uses: record

local said = {}
for _, section in ipairs({'server', 'clients', 'memory', 'persistence', 'replication', 'cluster'}) do
  local info = redis.pcall('INFO', section)
  if type(info) == 'string' then said[#said + 1] = info end
end
local clock = redis.call('TIME')
return {
  clock[1] * 1000 + math.floor(clock[2] / 1000), redis.call('HGET', T .. ':meta', 'format'),
  redis.call('ZCOUNT', T .. ':leases', '-inf', now), redis.call('HLEN', T .. ':doubts'), table.concat(said, '\n'),
}
