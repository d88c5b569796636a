-- Say "alive", write what is known of a worker, and read which jobs the store believes it to run.
-- moves:
-- flags: allow-oom
-- args: now:int worker lease:int info
-- reply: rows of jid token cancel
-- uses: record

redis.call('ZADD', T .. ':leases', now + lease, worker)
redis.call('HSET', T .. ':workers', worker, now .. ' ' .. info)
local reply = {}
for _, jid in ipairs(redis.call('SMEMBERS', T .. ':held:' .. worker)) do
  local r = load(jid)
  if r and r.state == RUNNING and r.worker == worker then
    reply[#reply + 1] = jid
    reply[#reply + 1] = r.token
    reply[#reply + 1] = r.cancel
  end
end
return reply
