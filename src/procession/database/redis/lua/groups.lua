-- Read groups of errors, those seen last first.
-- moves:
-- flags: no-writes
-- args: now:int limit:int
-- reply: pairs of a fingerprint and its group as JSON
-- uses: record groups

local reply = {}
for _, fingerprint in ipairs(redis.call('ZREVRANGEBYSCORE', SEEN, '+inf', '(' .. now - UNSEEN, 'LIMIT', 0, limit)) do
  local group = redis.call('HGET', GROUPS, fingerprint)
  if group then
    reply[#reply + 1] = fingerprint
    reply[#reply + 1] = group
  end
end
return reply
