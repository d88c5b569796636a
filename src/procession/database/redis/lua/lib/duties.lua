-- The duties of every queue worker, as functions, so that one script can do them together.

local function due_moved(limit)
  local due = limit > 0 and redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit) or {}
  load_all(due)
  each_chunk(due, 4000, function(...) redis.call('ZREM', DUE, ...) end)
  for _, jid in ipairs(due) do
    local r = load(jid)
    if not r then count('repaired', 1) end
    if r and r.state == DELAYED then
      if r.expires > 0 and r.expires <= now and r.attempt == 0 then
        finish(jid, r, CANCELLED, 'expired')
      else
        if r.rules then limits().admit(jid, r) else to_lane(jid, r) end  -- `due` stays and says since when it is ready
      end
    end
  end
  return #due
end

local function dead_recovered(limit, lease, max_crashes)
  local taken = {}
  local meta = redis.call('HMGET', T .. ':meta', 'recovered_at', 'grace_until')
  local last, grace = tonumber(meta[1] or now), tonumber(meta[2] or 0)
  -- Nobody looked for more than half a lease: the store was away or its clock jumped, and workers could not extend.
  if math.abs(now - last) > lease / 2 then grace = now + lease end
  redis.call('HSET', T .. ':meta', 'recovered_at', now, 'grace_until', grace)
  lend(lease)
  if now >= grace then
    for _, worker in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 100)) do
      if not take_back_all(worker, limit - #taken, max_crashes, 'lease ended', '', taken) then break end
    end
  end
  return taken
end

local function next_due()
  return tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or 0)
end
