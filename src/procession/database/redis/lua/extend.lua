-- Say "alive" for workers, and nothing else. An unknown worker stays unknown.
-- moves:
-- flags: allow-oom
-- args: now:int lease:int *workers
-- reply: none
-- uses: record

for _, worker in ipairs(workers) do redis.call('ZADD', T .. ':leases', 'XX', now + lease, worker) end
return 0
