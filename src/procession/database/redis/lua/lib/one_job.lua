-- One job that is ready, without rules, in a minute in which its queue was counted before: what most calls of `enqueue` bring. It is
-- stored here and now, and nothing of all that other calls need is defined for it, which cost more than half of such a call. What it
-- leaves is what the rest of the script would leave; a test puts both side by side.

if #jobs == 6 and jobs[4] == '0' and #jobs[6] <= LONG_SPEC then
  local queue, priority, jid, spec, call, byte, sub = jobs[1], tonumber(jobs[2]), jobs[5], jobs[6], redis.call, string.byte, string.sub
  local time = now == 0 and call('TIME')
  if time then now = time[1] * 1000 + math.floor(time[2] / 1000) end
  local minute, counted = T .. ':minute:' .. math.floor(now / 60000), {'e', 'eq' .. queue}
  local rows = call('HMGET', minute, counted[1], counted[2], ADDED)
  if rows[1] and rows[2] and not rows[3] then
    rows[3] = nil
    for i, raw in ipairs(rows) do
      local at = 1
      while at < #raw and byte(raw, at) ~= ENQUEUED do at = at + SLOT_BYTES end
      local number = at < #raw and struct.unpack('>I4', raw, at + 1) or 0
      rows[i] = sub(raw, 1, at - 1) .. struct.pack(SLOT, ENQUEUED, math.min(number + 1, MOST_COUNTED)) .. sub(raw, at + SLOT_BYTES)
    end
    local record = struct.pack('>BBHI4bBc0I6', VERSION, QUEUED, 0, 0, priority, #queue, queue, now) .. spec
    if call('HSETNX', T .. ':jobs', jid, record) == 0 then return {0} end
    if call('RPUSH', T .. ':lane:' .. queue .. ':' .. priority, jid) == 1 then
      call('ZADD', T .. ':lanes:' .. queue, -priority, priority)
    end
    call('HINCRBY', T .. ':depth', queue, 1)
    call('HINCRBY', T .. ':counters', 'enqueued', 1)
    call('HSET', minute, counted[1], rows[1], counted[2], rows[2])
    local bell = T .. ':bell:' .. queue
    if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
    return {1}
  end
end
