-- Take ready jobs: out of their lanes, attempt + 1, worker and token written, held by a lease.
-- moves: claim expire
-- flags: allow-oom
-- args: now:int worker token limit:int lease:int *queues
-- reply: now next_due rows…; a row is jid queue spec attempt crashes fence
-- uses: record lanes finish

local held = T .. ':held:' .. worker
local rows, claimed = {}, {}

-- The fence rises even when the store lost its last writes, as long as its clock is not behind by more than a lease.
local clock = redis.call('TIME')
local last = tonumber(redis.call('HGET', T .. ':meta', 'fence') or '0')
local fence = math.max(clock[1] * 1000000 + clock[2], last + 1)

local function row(jid, r)
  claimed[#claimed + 1] = jid
  rows[#rows + 1] = {jid, r.queue, false, r.attempt, r.crashes, fence}
  fence = fence + 1
end

if redis.call('HGET', T .. ':tokens', worker) == token then
  local ids = redis.call('SMEMBERS', held)
  table.sort(ids)
  for _, jid in ipairs(ids) do
    local r = load(jid)
    if r and r.state == RUNNING and r.worker == worker and r.token == token then row(jid, r) end
  end
else
  redis.call('HSET', T .. ':tokens', worker, token)
  local writes = {}
  for _, queue in ipairs(queues) do
    if #claimed < limit and redis.call('HEXISTS', T .. ':paused', queue) == 0 then
      pop_live(queue, limit - #claimed, function(jid, r)
        if r.expires > 0 and r.expires <= now then
          finish(jid, r, CANCELLED, 'expired')
          return false
        end
        r.state, r.attempt, r.started, r.due = RUNNING, math.min(r.attempt + 1, 65535), now, 0
        r.worker, r.token, r.reason, r.cancel, r.finished = worker, token, '', 0, 0
        writes[#writes + 1] = jid
        writes[#writes + 1] = packed(r)
        row(jid, r)
        return true
      end)
    end
  end
  each_chunk(writes, 2000, function(...) redis.call('HSET', STATES, ...) end)
  each_chunk(claimed, 2000, function(...) redis.call('SADD', held, ...) end)
  count('running', #claimed)
  write_depths()
  write_counts()
  for _, queue in ipairs(queues) do
    if redis.call('ZCARD', lanes_key(queue)) > 0 and redis.call('HEXISTS', T .. ':paused', queue) == 0 then ring(queue) end
  end
end

if #claimed > 0 then redis.call('HSET', T .. ':meta', 'fence', string.format('%.0f', fence - 1)) end
local until_ = redis.call('ZSCORE', T .. ':leases', worker)
if not until_ or tonumber(until_) < now + lease then redis.call('ZADD', T .. ':leases', now + lease, worker) end

local specs = {}
each_chunk(claimed, 1000, function(...)
  for _, spec in ipairs(redis.call('HMGET', SPECS, ...)) do specs[#specs + 1] = spec end
end)
local reply = {now, tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or 0)}
for i, it in ipairs(rows) do
  it[3] = specs[i] or ''
  it[6] = string.format('%.0f', it[6])
  for _, value in ipairs(it) do reply[#reply + 1] = value end
end
return reply
