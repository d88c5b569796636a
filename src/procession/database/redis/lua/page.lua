-- Read one page of jobs of one state. Finished jobs newest first; delayed by due time; the others in their order.
-- The cursor is the position of the last row seen: due time and id, a turn and id, a count of entries, or a lane, the number of an
-- entry in it, and the entry.
-- moves:
-- flags: no-writes
-- args: now:int state queue limit:int position last
-- reply: more, rows
-- uses: record held lanes limits finish rows

local NEAR = 1000  -- entries of a lane before its place then among which one is looked for first
local more = 0
local finals = {processed = PROCESSED, failed = FAILED, cancelled = CANCELLED}

-- Where a page ended, for the next.
local function mark(jid, at)
  more = 1
  add_row(jid, false, at)
end

local function hexed(bytes)
  return (string.gsub(bytes, '.', function(byte) return string.format('%02x', string.byte(byte)) end))
end

local function unhexed(text)
  return (string.gsub(text, '%x%x', function(pair) return string.char(tonumber(pair, 16)) end))
end

-- True for a job of the queue that was asked for, or of any.
local function is_meant(raw)
  return raw and (queue == '' or (string.byte(raw, 10) == #queue and string.find(raw, queue, 11, true) == 11))
end

-- The place of a blocked job is that of its limit, then its turn.
local function from_blocked()
  local from = '-'
  if position ~= '' then
    from = '(' .. unhexed(position) .. last
  end
  local turns = redis.call('ZRANGEBYLEX', WAITING, from, '+', 'LIMIT', 0, limit + 1)
  local jids, at = {}, nil
  for i = 1, math.min(#turns, limit) do jids[i] = string.sub(turns[i], -16) end
  for i, raw in ipairs(values(JOBS, jids)) do
    at = hexed(string.sub(turns[i], 1, -17))
    if is_meant(raw) and string.byte(raw, 2) == BLOCKED then add_job(jids[i], raw, at) end
  end
  if #turns > limit then mark(jids[limit], at) end
end

local function from_due()
  local first = 0
  if position ~= '' then
    local found = redis.call('ZRANK', DUE, last)
    first = found and found + 1 or redis.call('ZCOUNT', DUE, '-inf', '(' .. position)
  end
  local ids = redis.call('ZRANGE', DUE, first, first + limit - 1, 'WITHSCORES')
  local jids = {}
  for i = 1, #ids, 2 do jids[#jids + 1] = ids[i] end
  for i, raw in ipairs(values(JOBS, jids)) do
    if is_meant(raw) then add_job(jids[i], raw, ids[2 * i]) end
  end
  if #jids > 0 and first + #jids < redis.call('ZCARD', DUE) then mark(ids[#ids - 1], ids[#ids]) end
end

-- Finished jobs from the newest down. A position counts entries since the first one ever, so it stays when others come and go.
local function from_kept(id)
  local kept = KEPT[id]
  local older = redis.call('LLEN', front_key(kept))
  local shed_before = tonumber(redis.call('HGET', META, 'shed_' .. state) or 0)
  local at = older + redis.call('LLEN', kept) - 1
  if position ~= '' then at = math.min(at, tonumber(position) - shed_before - 1) end
  local seen = 0
  while at >= 0 and seen < limit do
    local key, before = kept, older
    if at < older then key, before = front_key(kept), 0 end
    local entries = redis.call('LRANGE', key, math.max(at - before - (limit - seen) + 1, 0), at - before)
    local raws, jids = raws_of(entries)
    for i = #entries, 1, -1 do
      if is_filed(raws[i], entries[i], id) then
        seen = seen + 1
        if is_meant(raws[i]) then add_job(jids[i], raws[i], at + shed_before) end
      end
      at = at - 1
    end
  end
  if at >= 0 then mark('', at + 1 + shed_before) end
end

-- Entries of a lane by number, those of its older part first.
local function entries_of(lane, older, from, to)
  local entries = from < older and redis.call('LRANGE', front_key(lane), from, math.min(to, older - 1)) or {}
  if to >= older then
    for _, entry in ipairs(redis.call('LRANGE', lane, math.max(from - older, 0), to - older)) do entries[#entries + 1] = entry end
  end
  return entries
end

-- How many entries of a lane are before what follows the one that a page ended with, the one of number `at` then. What is claimed
-- goes from the front, so it stands before that by now; and when it was claimed itself, so was all before it.
local function resumed(lane, older, at, entry)
  local from = math.max(at - NEAR, 0)
  local entries = entries_of(lane, older, from, at - 1)
  for i = #entries, 1, -1 do
    if entries[i] == entry then return from + i end
  end
  local found = redis.call('LPOS', front_key(lane), entry)
  if found then return found + 1 end
  found = redis.call('LPOS', lane, entry)
  if found then return older + found + 1 end
  local raw = values(JOBS, {last})[1]
  local r = raw and unpacked(raw)
  local claimed = r and r.state ~= CANCELLED and (r.state ~= QUEUED or r.started > 0)  -- it may be back, in another place
  return claimed and 0 or at
end

-- Walk the lanes one after the other until the page is full or too many entries were read for one call: tombstones may be all that
-- stands in front.
local function from_lanes(names)
  local queue_then, priority_then, at_then, place_then = string.match(position, '^(.*)/(.*)/(.*)/(.*)$')
  local read, step, ended, spot = 0, math.max(limit, 100), '', ''
  for _, name in ipairs(names) do
    for _, priority in ipairs(queue_then and name < queue_then and {} or priorities(name)) do
      local lane, whose = lane_key(name, priority), sign(name, priority)
      local older = redis.call('LLEN', front_key(lane))
      local at, length = 0, older + redis.call('LLEN', lane)
      if name == queue_then and tonumber(priority) > tonumber(priority_then) then
        at = length
      elseif name == queue_then and priority == priority_then then
        at = resumed(lane, older, tonumber(at_then), last .. unhexed(place_then))
      end
      local function spot_of(entry)
        return name .. '/' .. priority .. '/' .. at .. '/' .. hexed(string.sub(entry, 17))
      end
      while at < length do
        if #rows[1] >= limit or read >= LOOKED_THROUGH then return mark(string.sub(ended, 1, 16), spot) end
        local entries = entries_of(lane, older, at, at + step - 1)
        local raws, jids = raws_of(entries)
        for i, entry in ipairs(entries) do
          if #rows[1] == limit then break end
          at, read, ended = at + 1, read + 1, entry
          if is_queued(raws[i], entry, whose) then add_job(jids[i], raws[i], spot_of(entry)) end
        end
        spot = spot_of(ended)
      end
    end
  end
end

-- A claim names jobs that are settled, too, and one of these may run again under another claim.
local function from_held()
  local jids = {}
  for _, worker in ipairs(redis.call('ZRANGE', T .. ':leases', 0, -1)) do
    for _, claim in ipairs(redis.call('HVALS', held_key(worker))) do
      for at = 5, #claim, 16 do
        local jid = string.sub(claim, at, at + 15)
        if jid > last then jids[#jids + 1] = jid end
      end
    end
  end
  table.sort(jids)
  for first = 1, #jids, limit do
    local raws, some = raws_of({unpack(jids, first, math.min(first + limit - 1, #jids))})
    for i, raw in ipairs(raws) do
      local jid = some[i]
      if jid ~= jids[first + i - 2] and is_meant(raw) and string.byte(raw, 2) == RUNNING then add_job(jid, raw, 'after') end
      if #rows[1] == limit and first + i - 1 < #jids then return mark(jid, 'after') end
    end
  end
end

if limit < 1 then
  more = 0
elseif finals[state] then
  from_kept(finals[state])
elseif state == 'delayed' then
  from_due()
elseif state == 'blocked' then
  from_blocked()
elseif state == 'queued' then
  local names = queue ~= '' and {queue} or redis.call('HKEYS', T .. ':depth')
  table.sort(names)
  from_lanes(names)
elseif state == 'running' then
  from_held()
end
return {more, filled()}
