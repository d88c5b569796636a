-- Read the buckets of one scope: what happened, how long it waited and ran, how deep it was.
-- moves:
-- flags: no-writes
-- args: now:int hours:int number:int scope
-- reply: now, then for each bucket, the oldest first, its packed events, histograms, depth, and the depth of all
-- uses: record

local name, width = unpack(BUCKETS[hours + 1])
local latest, reply = math.floor(now / width), {now}
local last = hours == 1 and tonumber(redis.call('HGET', T .. ':meta', 'minute') or '')  -- not in its hour yet
local series = {'e' .. scope, 'h' .. scope, 'd' .. scope, 'd'}
for at = latest - number + 1, latest do
  local found = redis.call('HMGET', T .. name .. at, unpack(series))
  local more = last and math.floor(last / 60) == at and redis.call('HMGET', minute_key(last), unpack(series)) or {}
  for i = 1, #series do
    reply[#reply + 1] = more[i] and added(found[i] or '', counts_in(more[i])) or found[i] or ''
  end
end
return reply
