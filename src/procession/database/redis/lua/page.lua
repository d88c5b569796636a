-- Read one page of jobs of one state. Finished jobs newest first; delayed by due time; the others in their order.
-- The cursor is the position of the last row seen: score and id in an index, an offset in lanes.
-- moves:
-- flags: no-writes
-- args: now:int state queue limit:int position last
-- reply: more, rows
-- uses: record lanes rows

local reply, more = {}, 0
local indexes = {processed = T .. ':processed', failed = T .. ':failed', cancelled = T .. ':cancelled', delayed = DUE}

local function from_index(key, newest_first)
  local rank, range, score_of = 'ZRANK', 'ZRANGE', tonumber(position)
  if newest_first then rank, range = 'ZREVRANK', 'ZREVRANGE' end
  local first = 0
  if position ~= '' then
    local found = redis.call(rank, key, last)
    if found then
      first = found + 1
    elseif newest_first then
      first = redis.call('ZCOUNT', key, '(' .. position, '+inf')
    else
      first = redis.call('ZCOUNT', key, '-inf', '(' .. position)
    end
  end
  local ids = redis.call(range, key, first, first + limit - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do
    local r = load(ids[i])
    if r and (queue == '' or r.queue == queue) then add_row(reply, ids[i], ids[i + 1]) end
  end
  if #ids > 0 and first + #ids / 2 < redis.call('ZCARD', key) then
    more = 1
    reply[#reply + 1] = {ids[#ids - 1], false, false, false, false, ids[#ids]}
  end
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
        local jid, place = split(entry)
        if is_live(load(jid), place, list[2], list[3]) then add_row(reply, jid, passed + first + i) end
      end
      seen = seen + #ids
    end
    passed = passed + length
  end
  if offset + seen < passed then
    more = 1
    reply[#reply + 1] = {'', false, false, false, false, offset + seen}
  end
end

if indexes[state] then
  from_index(indexes[state], state ~= 'delayed')
elseif state == 'queued' then
  local lists = {}
  local names = queue ~= '' and {queue} or redis.call('HKEYS', T .. ':depth')
  table.sort(names)
  for _, name in ipairs(names) do
    for _, priority in ipairs(priorities(name)) do
      lists[#lists + 1] = {front_key(name, priority), name, priority}
      lists[#lists + 1] = {lane_key(name, priority), name, priority}
    end
  end
  from_lists(lists)
elseif state == 'running' then
  local ids = {}
  for _, worker in ipairs(redis.call('ZRANGE', T .. ':leases', 0, -1)) do
    for _, jid in ipairs(redis.call('SMEMBERS', T .. ':held:' .. worker)) do ids[#ids + 1] = jid end
  end
  table.sort(ids)
  for _, jid in ipairs(ids) do
    if jid > last and #reply <= limit then
      local r = load(jid)
      if r and r.state == RUNNING and (queue == '' or r.queue == queue) then
        if #reply == limit then
          more = 1
          reply[#reply + 1] = {reply[limit][1], false, false, false, false, 'after'}
        else
          add_row(reply, jid, 'after')
        end
      end
    end
  end
end
return {more, reply}
