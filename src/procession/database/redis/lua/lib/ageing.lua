-- Ageing: the head of a lane counts one priority higher for each span that it has been ready, and among equals the one that has
-- been ready longest comes first. The order inside a lane stays, so only heads are looked at.

-- What stands at the head of a lane, and how it counts. Tombstones in front of it are cleared, as many as `budget` has left; nil
-- when the lane is empty or they were too many.
local function head_of(queue, priority, span, budget)
  local key, whose = lane_key(queue, priority), sign(queue, priority)
  while budget.left > 0 do
    local from = front_key(key)
    local entry = redis.call('LINDEX', from, 0)
    if not entry then
      from = key
      entry = redis.call('LINDEX', from, 0)
    end
    if not entry then
      redis.call('ZREM', lanes_key(queue), priority)
      return nil
    end
    local jid = string.sub(entry, 1, 16)
    local raw = redis.call('HGET', JOBS, jid)
    local r = not handed[jid] and is_queued(raw, entry, whose) and unpacked(raw)
    if r then
      local since, own = ready_since(r), tonumber(priority)
      return {priority = priority, own = own, since = since, from = from, jid = jid, raw = raw,
        level = own + math.floor(math.max(now - since, 0) / span)}
    end
    redis.call('LPOP', from)
    budget.left = budget.left - 1
  end
end

local function comes_before(a, b)
  if a.level ~= b.level then return a.level > b.level end
  if a.since ~= b.since then return a.since < b.since end
  return a.own > b.own
end

-- As `pop_live`, but for the order of the lanes. Where a lane outranks the others by its own priority, they need not be compared
-- job by job. Where too many tombstones were met, the next claim goes on: what stands behind them may be first.
local function pop_aged(queue, limit, span, take)
  local heads, budget, taken, live = {}, {left = TOMBSTONES}, 0, 0
  for _, priority in ipairs(priorities(queue)) do heads[#heads + 1] = head_of(queue, priority, span, budget) end
  while taken < limit and #heads > 0 and budget.left > 0 do
    local first, second = 1, nil
    for i = 2, #heads do
      if comes_before(heads[i], heads[first]) then first, second = i, first
      elseif not second or comes_before(heads[i], heads[second]) then second = i end
    end
    local head = heads[first]
    if not second or head.own > heads[second].level then
      taken = taken + pop_live(queue, limit - taken, take, {head.priority})
      if redis.call('ZSCORE', lanes_key(queue), head.priority) then break end
      table.remove(heads, first)
    else
      redis.call('LPOP', head.from)
      live = live + 1
      handed[head.jid] = true
      if take(head.jid, head.raw) then taken = taken + 1 else budget.left = budget.left - 1 end
      local following = head_of(queue, head.priority, span, budget)
      if following then heads[first] = following else table.remove(heads, first) end  -- `#heads` may end at a gap
    end
  end
  if live > 0 then deepen(queue, -live) end
end
