-- Take ready jobs: out of their lanes, attempt + 1, worker and token written, held by a lease.
-- moves: claim expire
-- flags: allow-oom
-- args: now:int worker token limit:int lease:int *queues
-- reply: now next_due fence rows…; a row is jid, attempt, crashes, number of the queue, spec; its fence is one more each
-- uses: record lanes finish

local held = T .. ':held:' .. worker
local ROW = '>c16HBH'
local rows, claimed, taken = {}, {}, 0

local function row(jid, attempt, crashes, number, flags, spec)
  if flags >= APART then spec = redis.call('HGET', SPECS, jid) end
  taken = taken + 1
  claimed[taken], rows[taken] = jid, struct.pack(ROW, jid, attempt, crashes, number - 1) .. spec
end

if redis.call('HGET', T .. ':tokens', worker) == token then
  local numbers, ids = {}, redis.call('SMEMBERS', held)
  for i, queue in ipairs(queues) do numbers[queue] = i end
  table.sort(ids)
  load_all(ids)
  for _, jid in ipairs(ids) do
    local r = load(jid)
    if r and r.state == RUNNING and r.worker == worker and r.token == token and numbers[r.queue] then
      row(jid, r.attempt, r.crashes, numbers[r.queue], r.apart and APART or 0, r.spec)
    end
  end
else
  redis.call('HSET', T .. ':tokens', worker, token)
  local history = struct.pack(HISTORY, now, 0, #worker, worker, #token, token, 0, '')
  for number, queue in ipairs(queues) do
    if taken < limit and redis.call('HEXISTS', T .. ':paused', queue) == 0 then
      pop_live(queue, limit - taken, function(jid, raw, flags, priority, attempt, crashes, enqueued, at)
        local plan = ''
        if flags % 2 == 1 then
          local due, expires
          due, expires, at = struct.unpack(PLAN, raw, at)
          if expires > 0 and expires <= now then
            finish(jid, unpacked(raw), CANCELLED, 'expired')
            return false
          end
          plan = struct.pack(PLAN, 0, expires)
        end
        if flags % 4 >= 2 then
          local started, finished, who, what, why
          started, finished, who, what, why, at = struct.unpack(HISTORY, raw, at)
          flags = flags - HAS_HISTORY
        end
        if flags % 8 >= 4 then flags = flags - CANCEL end
        local spec = string.sub(raw, at)
        attempt = math.min(attempt + 1, 65535)
        local head = struct.pack(HEAD, VERSION, RUNNING, flags + HAS_HISTORY, priority, attempt, crashes, 0, enqueued, #queue, queue)
        write(jid, head .. plan .. history .. spec)
        row(jid, attempt, crashes, number, flags, spec)
        return true
      end)
    end
  end
  each_chunk(claimed, 4000, function(...) redis.call('SADD', held, ...) end)
  count('running', taken)
  for _, queue in ipairs(queues) do
    if redis.call('EXISTS', lanes_key(queue)) == 1 and redis.call('HEXISTS', T .. ':paused', queue) == 0 then ring(queue) end
  end
end

-- The fence rises even when the store lost its last writes, as long as its clock is not behind by more than a lease.
local fence = '0'
if taken > 0 then
  local clock = redis.call('TIME')
  local last = tonumber(redis.call('HGET', T .. ':meta', 'fence') or '0')
  local first = math.max(clock[1] * 1000000 + clock[2], last + 1)
  redis.call('HSET', T .. ':meta', 'fence', string.format('%.0f', first + taken - 1))
  fence = string.format('%.0f', first)
end
local until_ = redis.call('ZSCORE', T .. ':leases', worker)
if not until_ or tonumber(until_) < now + lease then redis.call('ZADD', T .. ':leases', now + lease, worker) end
commit()
return {now, tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or 0), fence, unpack(rows)}
