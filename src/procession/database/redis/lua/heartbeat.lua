-- Say "alive", write what is known of a worker, do the duties that any worker may do, and read what it is believed to run.
-- moves: promote expire recover poison discard
-- flags: allow-oom
-- args: now:int worker lease:int info limit:int max_crashes:int *queues
-- reply: now next_due ready recovered, then rows of jid token cancel
-- uses: record held lanes finish duties

redis.call('ZADD', T .. ':leases', now + lease, worker)
redis.call('HSET', T .. ':workers', worker, now .. ' ' .. info)
local recovered = limit > 0 and #dead_recovered(limit, lease, max_crashes) or 0
due_moved(limit)
commit()

local ready = 0
for _, queue in ipairs(queues) do
  if redis.call('EXISTS', lanes_key(queue)) == 1 and redis.call('HEXISTS', T .. ':paused', queue) == 0 then ready = 1 end
end
local reply = {now, next_due(), ready, recovered}
for _, jid in ipairs(held_by(worker, true)) do
  local r = load(jid)
  reply[#reply + 1] = jid
  reply[#reply + 1] = r.token
  reply[#reply + 1] = r.cancel and 1 or 0
end
return reply
