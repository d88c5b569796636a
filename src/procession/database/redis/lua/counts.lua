-- All counters.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: names and numbers in turn
-- uses: record

local reply = redis.call('HGETALL', T .. ':counters')
reply[#reply + 1] = 'delayed'
reply[#reply + 1] = redis.call('ZCARD', DUE)
reply[#reply + 1] = 'blocked'
reply[#reply + 1] = redis.call('ZCARD', T .. ':blocked')
return reply
