-- Mute a group of errors for a while; 0 lets it speak again.
-- moves:
-- flags: allow-oom
-- args: now:int fingerprint milliseconds:int
-- reply: 1 done | 0 there is no such group
-- uses: record groups

local known = redis.call('HGET', GROUPS, fingerprint)
if not known then return 0 end
local group = cjson.decode(known)
group.muted_until = milliseconds > 0 and now + milliseconds or 0
redis.call('HSET', GROUPS, fingerprint, cjson.encode(group))
return 1
