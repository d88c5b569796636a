-- Take back the jobs of workers whose lease ended.
-- moves: recover poison discard
-- flags: allow-oom
-- args: now:int limit:int lease:int max_crashes:int
-- reply: the jids taken back
-- uses: record lanes finish

local taken = {}
local meta = redis.call('HMGET', T .. ':meta', 'recovered_at', 'grace_until')
local last, grace = tonumber(meta[1] or now), tonumber(meta[2] or 0)
-- Nobody looked for more than half a lease: the store was away or its clock jumped, and workers could not extend.
if math.abs(now - last) > lease / 2 then grace = now + lease end
redis.call('HSET', T .. ':meta', 'recovered_at', now, 'grace_until', grace)
if now >= grace then
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', T .. ':leases', '-inf', now, 'LIMIT', 0, 100)) do
    if not take_back_all(worker, limit - #taken, max_crashes, 'lease ended', taken) then break end
  end
end
write_depths()
write_counts()
return taken
