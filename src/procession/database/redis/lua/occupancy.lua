-- Read who has the slots that jobs come under, and how far each of these jobs is from one.
-- moves:
-- flags: no-writes
-- args: now:int shown:int *jids
-- reply: rows of slots, taken, waiting, how many get one before it (-1: it does not wait), holders…; or false
-- uses: record lanes limits

local reply = {}
for i, jid in ipairs(jids) do
  local r, limit, most, turn = load(jid), nil, nil, nil
  if r and r.rules then limit, most, turn = slot_of(jid) end
  reply[i] = false
  if limit then
    local first, last = ends_of(limit)
    local row = {tonumber(redis.call('HGET', LIMITS, limit)) or most, taken(limit), redis.call('ZLEXCOUNT', WAITING, first, last), -1}
    if r.state == BLOCKED then
      row[4] = redis.call('ZLEXCOUNT', WAITING, first, '(' .. turn_of(limit, r.priority, turn, jid))
    end
    for _, holder in ipairs(redis.call('ZRANGEBYLEX', SLOTS, first, last, 'LIMIT', 0, shown)) do
      row[#row + 1] = string.sub(holder, 17)
    end
    reply[i] = row
  end
end
return reply
