-- All counters.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: names and numbers in turn
-- uses: record

local reply, queued = redis.call('HGETALL', T .. ':counters'), 0
for _, depth in ipairs(redis.call('HVALS', T .. ':depth')) do queued = queued + depth end
reply[#reply + 1] = 'queued'
reply[#reply + 1] = queued
reply[#reply + 1] = 'delayed'
reply[#reply + 1] = redis.call('ZCARD', DUE)
reply[#reply + 1] = 'blocked'
reply[#reply + 1] = redis.call('ZCARD', T .. ':blocked')
return reply
