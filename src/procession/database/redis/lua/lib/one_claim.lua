-- One job in all queues together, ready, that has neither run before nor been planned: what a worker that has nothing to do finds
-- when a bell rings. It is taken here and now, and nothing of all that other claims need is defined for it, which cost a third of
-- such a claim. What it leaves is what the rest of the script would leave; a test puts both side by side.

local last_claim = limit > 0 and after ~= '' and after ~= token and redis.call('HGET', T .. ':tokens', worker) or ''  -- its number, and a token
if #last_claim > 4 and string.sub(last_claim, 5) == after then
  local call, sub, lanes, queue, priority, number = redis.call, string.sub, 0, nil, nil, nil
  for i, name in ipairs(queues) do
    local found = call('ZRANGE', T .. ':lanes:' .. name, 0, 1)
    lanes = lanes + #found
    if found[1] then queue, priority, number = name, found[1], i - 1 end
    if lanes > 1 then break end
  end
  local lane = lanes == 1 and T .. ':lane:' .. queue .. ':' .. priority
  local entries = lane and call('LRANGE', lane, 0, 1) or {}
  local entry, jid = entries[1] or '', sub(entries[1] or '', 1, 16)
  local raw = #entries == 1 and call('HGET', T .. ':jobs', jid) or ''
  local whose = queue and struct.pack('>bBc0', priority, #queue, queue) or ''
  local head = struct.pack('>BB', VERSION, QUEUED) .. '\0\0\0\0\0\0' .. whose  -- no place, attempt, crash, flag
  if jid == entry and #raw > #head + 5 and string.find(raw, head, 1, true) == 1 and call('EXISTS', lane .. ':front', T .. ':paused') == 0 then
    local time = now == 0 and call('TIME')
    if time then now = time[1] * 1000 + math.floor(time[2] / 1000) end
    local its_number, enqueued_and_spec = sub(last_claim, 1, 4), sub(raw, #head + 1)
    call('DEL', lane, T .. ':lanes:' .. queue)
    call('HSET', T .. ':jobs', jid, struct.pack('>BBHHBB', VERSION, RUNNING, 0, 1, 0, HAS_HISTORY) .. whose
      .. struct.pack('>I6c4Bc0B', now, its_number, #token, token, 0) .. enqueued_and_spec)
    call('HSET', T .. ':tokens', worker, its_number .. token)
    call('HSET', T .. ':held:' .. worker, token, '\0\0\0\1' .. jid)
    call('HINCRBY', T .. ':depth', queue, -1)
    call('HINCRBY', T .. ':counters', 'running', 1)
    time = time or call('TIME')
    local fence = string.format('%.0f', math.max(time[1] * 1000000 + time[2], (call('HGET', T .. ':meta', 'fence') or 0) + 1))
    call('HSET', T .. ':meta', 'fence', fence)
    if lease > 0 and call('ZADD', T .. ':leases', 'GT', now + lease, worker) == 1 then
      call('HSETNX', T .. ':workers', worker, now .. ' {}')
    end
    local called = lease > 0 and call('LPOP', T .. ':bell:@' .. worker) and 1 or 0
    local next_due = tonumber(call('ZRANGE', T .. ':due', 0, 0, 'WITHSCORES')[2] or 0)
    return {now, next_due, fence, called, jid, {number, 1}, enqueued_and_spec}
  end
end
