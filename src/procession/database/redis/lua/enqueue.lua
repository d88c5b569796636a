-- Store new jobs: at once into their lane, or as delayed until they are due.
-- moves: enqueue delay defer promote block free
-- flags:
-- args: now:int *jobs
-- each: in runs of one kind: queue, priority, how many, 0, then jid and spec of each; or 1, then its delay, at, expires_in and expires_at, too; or 2, then its rules, too
-- reply: 1 stored | 0 known | the jid that holds its unique key, in order
-- uses: one_job record lanes limits unique ruled
-- seldom: ruled_run end_minute packed each_chunk counts_in

local answers, answered, there, used, delayed = {}, 0, {}, {}, {}
local first_due
local fresh = string.char(VERSION, QUEUED, 0, 0, 0, 0, 0)  -- its place, attempt, crashes

-- When a planned job is due, 0 for at once, and when it expires, 0 for never.
local function plan_of(at)
  local delay, moment, expires_in = tonumber(jobs[at + 2]), tonumber(jobs[at + 3]), jobs[at + 4]
  local due = delay > 0 and now + delay or moment > now and moment or 0
  return due, expires_in ~= '0' and now + expires_in or tonumber(jobs[at + 5])
end

local function ruled_run(first, queue, priority, number)
  local enqueued = 0
  for at = first, first + 7 * (number - 1), 7 do
    local jid = jobs[at]
    local known_already = there[jid] or redis.call('HEXISTS', JOBS, jid) == 1
    local due, expires = plan_of(at)
    local other = not known_already and enqueue_ruled(jid, jobs[at + 1], queue, priority, due, expires, jobs[at + 6])
    if not known_already and not other then
      there[jid], enqueued, used[queue] = true, enqueued + 1, true
    end
    answered = answered + 1
    answers[answered] = known_already and 0 or other or 1
  end
  happened('enqueued', queue, enqueued)
  return first + 7 * number
end

local function run_of(first, queue, priority, number, planned)
  local width, jids = planned and 6 or 2, {}
  local whose = struct.pack('>bBc0I6', priority, #queue, queue, now)
  local queued, enqueued, usual = 0, 0, nil
  for i = 1, number do jids[i] = jobs[first + (i - 1) * width] end
  local raws = values(JOBS, jids)
  for i = 1, number do
    local jid, at = jids[i], first + (i - 1) * width
    local spec = jobs[at + 1]
    answered = answered + 1
    if raws[i] or there[jid] then
      answers[answered] = 0
    elseif usual and #spec <= LONG_SPEC then  -- as the one before it
      local n = lane.n + 1
      lane.n, lane[n], fields[wrote + 1], fields[wrote + 2], wrote = n, jid, jid, usual .. spec, wrote + 2
      there[jid], answers[answered], queued, enqueued = true, 1, queued + 1, enqueued + 1
    else
      local flags, due, expires = 0, 0, 0
      if #spec > LONG_SPEC then
        redis.call('HSET', SPECS, jid, spec)
        spec, flags = '', APART
      end
      if planned then
        due, expires = plan_of(at)
        flags = flags + HAS_PLAN
        spec = struct.pack(PLAN, due, expires) .. spec
      end
      if due > 0 then
        write(jid, struct.pack('>BBHHBB', VERSION, DELAYED, 0, 0, 0, flags) .. whose .. spec)
        delayed[#delayed + 1] = due
        delayed[#delayed + 1] = jid
        first_due = first_due or tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge)
        if due < first_due then
          first_due = due
          ring(queue)
        end
      else
        push_entry(lane_for(queue, priority, false), jid)
        local record = fresh .. string.char(flags) .. whose
        usual = flags == 0 and record or nil
        write(jid, record .. spec)
        queued = queued + 1
      end
      there[jid], answers[answered] = true, 1
      enqueued = enqueued + 1
    end
  end
  used[queue] = used[queue] or enqueued > 0 or nil
  deepen(queue, queued)
  happened('enqueued', queue, enqueued)
  return first + number * width
end

local at = 1
while jobs[at] do
  local queue, priority, number, kind = jobs[at], tonumber(jobs[at + 1]), tonumber(jobs[at + 2]), jobs[at + 3]
  if kind == '2' then
    at = ruled_run(at + 4, queue, priority, number)
  else
    at = run_of(at + 4, queue, priority, number, kind == '1')
  end
end
call_with('ZADD', DUE, delayed)
for queue in pairs(used) do
  if (depths[queue] or 0) == 0 then redis.call('HSETNX', T .. ':depth', queue, 0) end  -- else `commit` makes it
end
commit()
return answers
