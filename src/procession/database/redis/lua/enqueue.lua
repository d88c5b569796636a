-- Store new jobs: at once into their lane, or as delayed until they are due.
-- moves: enqueue delay
-- flags:
-- args: now:int *jobs
-- each: jid spec queue priority delay at expires_in expires_at
-- reply: 1 stored | 0 known, in order
-- uses: record lanes

local answers, rung, used = {}, {}, {}
local first_due = redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
first_due = first_due and tonumber(first_due)
for i = 1, #jobs, 8 do
  local jid, queue = jobs[i], jobs[i + 2]
  if redis.call('HSETNX', SPECS, jid, jobs[i + 1]) == 0 then
    answers[#answers + 1] = 0
  else
    local delay, at = tonumber(jobs[i + 4]), tonumber(jobs[i + 5])
    local expires_in, expires_at = tonumber(jobs[i + 6]), tonumber(jobs[i + 7])
    local due = delay > 0 and now + delay or at
    local r = {
      state = DELAYED, place = 0, priority = tonumber(jobs[i + 3]), attempt = 0, crashes = 0, cancel = 0, enqueued = now,
      due = 0, started = 0, finished = 0, expires = expires_in > 0 and now + expires_in or expires_at,
      queue = queue, worker = '', token = '', reason = '',
    }
    if due > now then
      r.due = due
      save(jid, r)
      redis.call('ZADD', DUE, due, jid)
      if not first_due or due < first_due then first_due, rung[queue] = due, true end
    else
      to_lane(jid, r, false)
      rung[queue] = true
    end
    used[queue] = true
    answers[#answers + 1] = 1
    count('enqueued', 1)
  end
end
for queue in pairs(used) do redis.call('HSETNX', T .. ':depth', queue, 0) end
for queue in pairs(rung) do ring(queue) end
write_depths()
write_counts()
return answers
