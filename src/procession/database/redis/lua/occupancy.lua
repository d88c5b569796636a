-- Read who has the slots that jobs come under, and how far each of these jobs is from one.
-- moves:
-- flags: no-writes
-- args: now:int shown:int *jids
-- reply: rows of slots, taken, waiting, how many get one before it (-1: it does not wait), holders…; or false
-- uses: record lanes limits

local reply, it = {}, limits()
for i, jid in ipairs(jids) do
  local r, limit, most, turn = load(jid), nil, nil, nil
  if r and r.rules then limit, most, turn = it.slot_of(jid) end
  reply[i] = false
  if limit then
    local first, last = it.ends_of(limit)
    local said, ahead = tonumber(redis.call('HGET', LIMITS, limit)), -1
    if r.state == BLOCKED then
      ahead = redis.call('ZLEXCOUNT', WAITING, first, '(' .. it.turn_of(limit, r.priority, turn, jid))
    end
    reply[i] = {said or most, it.taken(limit), redis.call('ZLEXCOUNT', WAITING, first, last), ahead}
    for _, entry in ipairs(redis.call('ZRANGEBYLEX', SLOTS, first, last, 'LIMIT', 0, shown)) do
      table.insert(reply[i], string.sub(entry, 17))
    end
  end
end
return reply
