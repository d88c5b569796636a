-- Forget a worker, and for a minute what it asks late; take back at once what it still holds.
-- moves: recover poison discard free
-- flags: allow-oom
-- args: now:int worker max_crashes:int how crash
-- reply: the jids taken back
-- uses: record held lanes limits finish

local taken = {}
take_back_all(worker, 100000, max_crashes, how ~= '' and how or 'worker left', crash, taken)
redis.call('ZADD', LEFT, now, worker)
local old = redis.call('ZRANGEBYSCORE', LEFT, '-inf', now - LATE, 'LIMIT', 0, 100)
if #old > 0 then redis.call('ZREM', LEFT, unpack(old)) end
redis.call('EXPIRE', LEFT, LATE / 1000)
commit()
return taken
