-- Read the buckets of one scope: what happened, and how long it waited and ran.
-- moves:
-- flags: no-writes
-- args: now:int hours:int number:int scope
-- reply: now, then for each bucket, the oldest first, its packed events and its packed histograms
-- uses: record

local name, width = unpack(BUCKETS[hours + 1])
local latest, reply = math.floor(now / width), {now}
for at = latest - number + 1, latest do
  local found = redis.call('HMGET', T .. name .. at, 'e' .. scope, 'h' .. scope)
  reply[#reply + 1] = found[1] or ''
  reply[#reply + 1] = found[2] or ''
end
return reply
