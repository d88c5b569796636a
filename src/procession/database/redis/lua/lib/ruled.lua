-- New jobs with rules: a unique key, a deadline. Where another job holds the key, that one is answered, and changed if it waits and
-- the rules say so.

local entered = {}  -- filed by this script: such an entry is good again when its job is

local function ready(jid, r)
  if entered[jid] then
    deepen(r.queue, 1)
    r.state = QUEUED
    save(jid, r)
  else
    entered[jid] = true
    to_lane(jid, r)
  end
end

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

-- A waiting job is asked for anew: with other arguments, and, unless it waits for a retry, due at another time.
local function replace(jid, r, spec, due, expires, latest)
  if r.apart then redis.call('HDEL', SPECS, jid) end
  put_spec(jid, r, spec)
  if r.started > 0 then return save(jid, r) end
  r.expires = expires
  if latest > 0 and due > latest then due = latest end
  if due > now then
    if r.state == QUEUED then deepen(r.queue, -1) end
    wait_until(jid, r, due)
  elseif r.state == DELAYED then
    redis.call('ZREM', DUE, jid)
    r.due = 0
    ready(jid, r)
  else
    save(jid, r)
  end
end

-- Answers nil when the job was stored, and else the id of the one that holds its key.
local function enqueue_ruled(jid, spec, queue, priority, due, expires, asked)
  local key, frees, replaces, window, at_most, deadline = struct.unpack(ASKED, asked)
  if frees > 0 or window > 0 then
    local other, r, latest = holder_of(key)
    if other then
      if replaces == 1 and r.state <= DELAYED then replace(other, r, spec, due, expires, latest) end
      return other
    end
    redis.call('HSET', UNIQUE, key, jid)
  end
  local function from_now(span) return span > 0 and now + span or 0 end
  redis.call('HSET', RULES, jid, struct.pack(RULE, key, frees, from_now(window), from_now(at_most), from_now(deadline)))
  if deadline > 0 then redis.call('ZADD', DEADLINES, now + deadline, jid) end
  local r = {
    state = QUEUED, priority = priority, attempt = 0, crashes = 0, place = 0, enqueued = now, queue = queue, due = 0,
    expires = expires, started = 0, finished = 0, worker = '', token = '', reason = '', rules = true,
  }
  put_spec(jid, r, spec)
  if due > 0 then wait_until(jid, r, due) else ready(jid, r) end
  return nil
end
