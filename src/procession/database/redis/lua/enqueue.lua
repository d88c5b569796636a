-- Store new jobs: at once into their lane, or as delayed until they are due.
-- moves: enqueue delay
-- flags:
-- args: now:int *jobs
-- each: jid, queue, priority, delay, at, expires_in, expires_at and spec, packed
-- reply: 1 stored | 0 known, in order
-- uses: record lanes

local NEW = '>c16Bc0bI6I6I6I6'
local answers, jids, there, used, delayed = {}, {}, {}, {}, {}
for i, job in ipairs(jobs) do jids[i] = string.sub(job, 1, 16) end
each_chunk(jids, 4000, function(...)
  local asked = {...}
  for i, raw in ipairs(redis.call('HMGET', JOBS, ...)) do
    if raw then there[asked[i]] = true end
  end
end)
local first_due = tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge)
local pack, unpack_, sub = struct.pack, struct.unpack, string.sub
local enqueued = 0

for i, job in ipairs(jobs) do
  local jid, queue, priority, delay, at, expires_in, expires_at, rest = unpack_(NEW, job)
  if there[jid] then
    answers[i] = 0
  else
    local due = delay > 0 and now + delay or at
    local expires = expires_in > 0 and now + expires_in or expires_at
    local state, flags, plan, place, spec = QUEUED, 0, '', 0, sub(job, rest)
    if due <= now then due = 0 end
    if due > 0 or expires > 0 then flags, plan = HAS_PLAN, pack(PLAN, due, expires) end
    if #spec > LONG_SPEC then
      redis.call('HSET', SPECS, jid, spec)
      flags, spec = flags + APART, ''
    end
    if due > 0 then
      state = DELAYED
      delayed[#delayed + 1] = due
      delayed[#delayed + 1] = jid
      if due < first_due then
        first_due = due
        ring(queue)
      end
    else
      place = into_lane(jid, queue, priority)
    end
    write(jid, pack(HEAD, VERSION, state, flags, priority, 0, 0, place, now, #queue, queue) .. plan .. spec)
    there[jid], used[queue], answers[i] = true, true, 1
    enqueued = enqueued + 1
  end
end
count('enqueued', enqueued)
each_chunk(delayed, 4000, function(...) redis.call('ZADD', DUE, ...) end)
for queue in pairs(used) do redis.call('HSETNX', T .. ':depth', queue, 0) end
commit()
return answers
