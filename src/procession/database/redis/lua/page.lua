-- Read one page of jobs of one state. Finished jobs newest first; delayed by due time; the others in their order.
-- The cursor is the position of the last row seen: due time and id, a turn and id, a count of entries, or an offset in lanes.
-- moves:
-- flags: no-writes
-- args: now:int state queue limit:int position last
-- reply: more, rows
-- uses: record held lanes limits finish rows

local reply, more = {}, 0
local finals = {processed = PROCESSED, failed = FAILED, cancelled = CANCELLED}

-- Where a page ended, for the next.
local function mark(jid, at)
  more = 1
  reply[#reply + 1] = {jid, false, false, false, false, at}
end

-- The place of a blocked job is that of its limit, then its turn.
local function from_blocked()
  local from = '-'
  if position ~= '' then
    from = '(' .. string.gsub(position, '%x%x', function(pair) return string.char(tonumber(pair, 16)) end) .. last
  end
  local turns = redis.call('ZRANGEBYLEX', WAITING, from, '+', 'LIMIT', 0, limit + 1)
  for i = 1, math.min(#turns, limit) do
    local jid, r = string.sub(turns[i], -16), load(string.sub(turns[i], -16))
    local at = string.gsub(string.sub(turns[i], 1, -17), '.', function(byte) return string.format('%02x', string.byte(byte)) end)
    if r and r.state == BLOCKED and (queue == '' or r.queue == queue) then add_row(reply, jid, at) end
    if i == limit and #turns > limit then mark(jid, at) end
  end
end

local function from_due()
  local first = 0
  if position ~= '' then
    local found = redis.call('ZRANK', DUE, last)
    first = found and found + 1 or redis.call('ZCOUNT', DUE, '-inf', '(' .. position)
  end
  local ids = redis.call('ZRANGE', DUE, first, first + limit - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do
    local r = load(ids[i])
    if r and (queue == '' or r.queue == queue) then add_row(reply, ids[i], ids[i + 1]) end
  end
  if #ids > 0 and first + #ids / 2 < redis.call('ZCARD', DUE) then mark(ids[#ids - 1], ids[#ids]) end
end

-- Finished jobs from the newest down. A position counts entries since the first one ever, so it stays when others come and go.
local function from_kept(id)
  local older = redis.call('LLEN', front_key(KEPT[id]))
  local shed_before = tonumber(redis.call('HGET', T .. ':meta', 'shed_' .. state) or 0)
  local function entry_at(at)
    if at < older then return redis.call('LINDEX', front_key(KEPT[id]), at) end
    return redis.call('LINDEX', KEPT[id], at - older)
  end
  local at = older + redis.call('LLEN', KEPT[id]) - 1
  if position ~= '' then at = math.min(at, tonumber(position) - shed_before - 1) end
  local seen = 0
  while at >= 0 and seen < limit do
    local jid, place = struct.unpack(ENTRY, entry_at(at))
    local r = load(jid)
    if is_kept(r, place, id) then
      seen = seen + 1
      if queue == '' or r.queue == queue then add_row(reply, jid, at + shed_before) end
    end
    at = at - 1
  end
  if at >= 0 then mark('', at + 1 + shed_before) end
end

-- Walk lists one after the other as if they were one, from an offset on.
local function from_lists(lists)
  local offset, passed = tonumber(position ~= '' and position or 0), 0
  local seen = 0
  for _, list in ipairs(lists) do
    local length = redis.call('LLEN', list[1])
    if passed + length > offset and seen < limit then
      local first = math.max(offset - passed, 0)
      local ids = redis.call('LRANGE', list[1], first, first + limit - seen - 1)
      for i, entry in ipairs(ids) do
        local jid, place = struct.unpack(ENTRY, entry)
        if is_live(load(jid), place, list[2], list[3]) then add_row(reply, jid, passed + first + i) end
      end
      seen = seen + #ids
    end
    passed = passed + length
  end
  if offset + seen < passed then mark('', offset + seen) end
end

if finals[state] then
  from_kept(finals[state])
elseif state == 'delayed' then
  from_due()
elseif state == 'blocked' then
  from_blocked()
elseif state == 'queued' then
  local lists = {}
  local names = queue ~= '' and {queue} or redis.call('HKEYS', T .. ':depth')
  table.sort(names)
  for _, name in ipairs(names) do
    for _, priority in ipairs(priorities(name)) do
      local lane = lane_key(name, priority)
      lists[#lists + 1] = {front_key(lane), name, priority}
      lists[#lists + 1] = {lane, name, priority}
    end
  end
  from_lists(lists)
elseif state == 'running' then
  local ids = {}
  for _, name in ipairs(redis.call('ZRANGE', T .. ':leases', 0, -1)) do
    for _, jid in ipairs(held_by(name, false)) do ids[#ids + 1] = jid end
  end
  table.sort(ids)
  for _, jid in ipairs(ids) do
    if jid > last and (queue == '' or load(jid).queue == queue) then
      if #reply == limit then
        mark(reply[limit][1], 'after')
        break
      end
      add_row(reply, jid, 'after')
    end
  end
end
return {more, reply}
