-- New jobs with rules: a unique key, a deadline, a limit. Where another job holds the key, that one is answered, and changed if it
-- waits and the rules say so.

local function wait_until(jid, r, due)
  local first = tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge)
  r.state, r.due = DELAYED, due
  redis.call('ZADD', DUE, due, jid)
  if due < first then ring(r.queue) end
  save(jid, r)
end

local function put_spec(jid, r, spec)
  r.apart = #spec > LONG_SPEC
  if r.apart then
    redis.call('HSET', SPECS, jid, spec)
    spec = ''
  end
  r.spec = spec
end

-- The limit goes with the arguments: under another one, a job gives up its slot, or its turn, and asks again.
local function come_under(jid, r, slot)
  local it = limits()
  local limit, _, turn, rules = it.slot_of(jid)
  local other, most = '', 0
  if slot ~= '' then other, most = struct.unpack('>c16I4', slot) end
  if other == (limit or '') then
    if limit then
      it.write_slot(jid, rules, limit, most, turn)
      it.heed(limit, most, false)
    end
    return
  end
  local was = r.state
  it.give_back(jid, r)
  if slot == '' then
    redis.call('HSET', RULES, jid, rules)
  else
    it.write_slot(jid, rules, other, most, 0)
    it.heed(other, most, was ~= DELAYED)
  end
  if was == DELAYED or was >= PROCESSED then return end
  if not it.takes_slot(jid, r) then
    if was == QUEUED then deepen(r.queue, -1) end
  elseif was == BLOCKED then
    r.due = now
    to_lane(jid, r)
  end
end

-- A waiting job is asked for anew: with other arguments, and, unless it waits for a retry, due at another time.
local function replace(jid, r, spec, due, expires, latest, slot)
  if r.apart then redis.call('HDEL', SPECS, jid) end
  put_spec(jid, r, spec)
  come_under(jid, r, slot)
  if r.started > 0 then return save(jid, r) end
  r.expires = expires
  if latest > 0 and due > latest then due = latest end
  if due > now then
    limits().give_back(jid, r)
    if r.state == QUEUED then deepen(r.queue, -1) end
    wait_until(jid, r, due)
  elseif r.state == DELAYED then
    redis.call('ZREM', DUE, jid)
    r.due = now
    limits().admit(jid, r)
  else
    save(jid, r)
  end
end

-- Answers nil when the job was stored, and else the id of the one that holds its key.
local function enqueue_ruled(jid, spec, queue, priority, due, expires, asked)
  local key, frees, replaces, window, at_most, deadline, at = struct.unpack(ASKED, asked)
  local slot = string.sub(asked, at)
  if frees > 0 or window > 0 then
    local other, r, latest = holder_of(key)
    if other then
      if replaces == 1 and r.state < RUNNING then replace(other, r, spec, due, expires, latest, slot) end
      return other
    end
    redis.call('HSET', UNIQUE, key, jid)
  end
  local function from_now(span) return span > 0 and now + span or 0 end
  local rules = struct.pack(RULE, key, frees, from_now(window), from_now(at_most), from_now(deadline))
  redis.call('HSET', RULES, jid, slot == '' and rules or rules .. slot .. string.rep('\0', 6))
  if deadline > 0 then redis.call('ZADD', DEADLINES, now + deadline, jid) end
  if slot ~= '' then limits().heed(string.sub(slot, 1, 16), select(2, struct.unpack('>c16I4', slot)), due == 0) end
  local r = {
    state = QUEUED, priority = priority, attempt = 0, crashes = 0, place = 0, enqueued = now, queue = queue, due = 0,
    expires = expires, started = 0, finished = 0, worker = '', token = '', reason = '', rules = true,
  }
  put_spec(jid, r, spec)
  if due > 0 then
    wait_until(jid, r, due)
  elseif slot == '' then
    to_lane(jid, r)
  else
    limits().admit(jid, r)
  end
  return nil
end
