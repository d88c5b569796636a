-- Say "alive", write what is known of a worker, do the duties that any worker may do, and read what it is believed to run.
-- moves: promote expire miss recover poison discard block free
-- flags: allow-oom
-- args: now:int worker lease:int info limit:int max_crashes:int *queues
-- reply: now next_due ready recovered repaired left deaths orders, then rows of jid token cancel
-- uses: record held lanes limits finish audit rounds duties deadlines orders

local left = has_left(worker)
if not left then
  redis.call('ZADD', LEASES, now + lease, worker)
  redis.call('HSET', WORKERS, worker, now .. ' ' .. info)
end
check_claims(worker)
local recovered = 0
if limit > 0 then
  audited(lease)
  recovered = #dead_recovered(limit, lease, max_crashes)
  deadlines_missed(limit)
  due_moved(limit)
end
commit()
if limit > 0 then begin_minute() end

local ready, deaths = 0, {}
for _, queue in ipairs(queues) do
  for _, death in ipairs(limit > 0 and redis.call('LPOP', deaths_key(queue), 100) or {}) do deaths[#deaths + 1] = death end
  if redis.call('EXISTS', lanes_key(queue)) == 1 and redis.call('HEXISTS', T .. ':paused', queue) == 0 then ready = 1 end
end
local reply = {now, next_due(), ready, recovered, #findings, left and 1 or 0, table.concat(deaths), orders_of(worker)}
for _, jid in ipairs(held_by(worker, true)) do
  local r = load(jid)
  reply[#reply + 1] = jid
  reply[#reply + 1] = r.token
  reply[#reply + 1] = r.cancel and 1 or 0
end
return reply
