-- Say "alive", write what is known of a worker, do the duties that any worker may do, and read what it is believed to run.
-- moves: promote expire recover poison discard
-- flags: allow-oom
-- args: now:int worker lease:int info limit:int max_crashes:int *queues
-- reply: now next_due ready recovered repaired orders, then rows of jid token cancel
-- uses: record held lanes finish audit rounds duties orders

redis.call('ZADD', LEASES, now + lease, worker)
redis.call('HSET', WORKERS, worker, now .. ' ' .. info)
check_claims(worker)
local recovered = 0
if limit > 0 then
  audited(lease)
  recovered = #dead_recovered(limit, lease, max_crashes)
  due_moved(limit)
end
commit()

local ready = 0
for _, queue in ipairs(queues) do
  if redis.call('EXISTS', lanes_key(queue)) == 1 and redis.call('HEXISTS', T .. ':paused', queue) == 0 then ready = 1 end
end
local reply = {now, next_due(), ready, recovered, #findings, orders_of(worker)}
for _, jid in ipairs(held_by(worker, true)) do
  local r = load(jid)
  reply[#reply + 1] = jid
  reply[#reply + 1] = r.token
  reply[#reply + 1] = r.cancel and 1 or 0
end
return reply
