-- Take ready jobs: out of their lanes, attempt + 1, worker and token written, held by a lease.
-- moves: claim expire free
-- flags: allow-oom
-- args: now:int worker token after limit:int lease:int ageing:int *queues
-- reply: now next_due fence said jids queues rows…; the jids are joined, each queue is its number and how many jobs are of it, the fence is one more each; said is 1 for its own bell, 2 more where it stopped at tombstones, or one that expired may have handed its slot on
-- uses: one_claim record held lanes limits ageing finish unique
-- seldom: take add held_of load packed each_chunk unpacked write_tallies pop_aged

local claimed, reply, runs, taken, may_follow = {}, {now, 0, '0', 0, '', {}}, {}, 0, false

-- So many jobs more are of this queue.
local function of_queue(number, many)
  local n = #runs
  if runs[n - 1] == number then
    runs[n] = runs[n] + many
  elseif many > 0 then
    runs[n + 1], runs[n + 2] = number, many
  end
end

-- A row of a job that was taken apart: 255, attempt, crashes, deadline, since when it is ready, its spec. That of any other is cut
-- out of its record, for it is new: since when it is ready, which never begins with 255, and its spec.
local function add(jid, ready, r)
  local facts = struct.pack('>BHBI6I6', 255, r.attempt, r.crashes, r.rules and deadline_of(jid) or 0, ready)
  taken = taken + 1
  claimed[taken], reply[6 + taken] = jid, facts .. (r.apart and redis.call('HGET', SPECS, jid) or r.spec)
end

-- A job that was filed before, has run, been planned or lies apart is taken apart.
local function take(jid, r)
  if not r then return false end  -- damaged; the audit finds it
  if r.expires > 0 and r.expires <= now and r.attempt == 0 then
    finish(jid, r, CANCELLED, 'expired')
    may_follow = may_follow or r.rules
    return false
  end
  local ready = r.due > 0 and r.due or r.attempt == 0 and r.started == 0 and r.enqueued or 0
  r.state, r.place, r.attempt, r.started, r.finished, r.due = RUNNING, math.min(r.place, 1), math.min(r.attempt + 1, 65535), now, 0, 0
  r.worker, r.token, r.reason, r.cancel = worker, token, '', false
  save(jid, r)
  add(jid, ready, r)
  return true
end

-- A token names one claim: what comes late, after the worker's next claim, answers what is held under it and takes nothing.
local number, last = number_and_token(worker)
local held = redis.call('HGET', held_key(worker), token)
local left = not last and has_left(worker)
if last == token or held then
  local numbers = {}
  for i, queue in ipairs(queues) do numbers[queue] = i - 1 end
  for _, jid in ipairs(held_of(worker, token, held or '')) do
    local r = load(jid)
    add(jid, 0, r)
    of_queue(numbers[r.queue], 1)
  end
elseif not left then
  redis.call('HSET', T .. ':tokens', worker, struct.pack('>I4', number or new_number(worker)) .. token)
  local running = struct.pack('>BBHHBB', VERSION, RUNNING, 0, 1, 0, HAS_HISTORY)
  local since, sub, find = running_since(now, worker, token, ''), string.sub, string.find
  local in_turn = not last or after == '' or after == last
  local paused = values(T .. ':paused', queues)
  for i, queue in ipairs(queues) do
    if in_turn and taken < limit and not paused[i] then
      local taken_before, from, before, its_head = taken, 11 + #queue, nil, nil
      local function take_raw(jid, raw, whose)
        if #raw < from + 5 or not whose and find(raw, UNTOUCHED, 3, true) ~= 3 then return take(jid, unpacked(raw)) end
        whose = whose or sub(raw, 9, from - 1)
        if whose ~= before then before, its_head = whose, running .. whose .. since end
        local enqueued_and_spec = sub(raw, from)
        fields[wrote + 1], fields[wrote + 2] = jid, its_head .. enqueued_and_spec
        wrote, taken = wrote + 2, taken + 1
        claimed[taken], reply[6 + taken] = jid, enqueued_and_spec
        return true
      end
      if ageing > 0 then pop_aged(queue, limit - taken, ageing, take_raw) else pop_live(queue, limit - taken, take_raw) end
      of_queue(i - 1, taken - taken_before)
    end
  end
  if may_follow and taken < limit then reply[4] = 2 end
  hold(worker, token, claimed)
  count('running', taken)
  for i, queue in ipairs(queues) do
    if not paused[i] and redis.call('EXISTS', lanes_key(queue)) == 1 then
      ring(queue)
      if in_turn and taken < limit then reply[4] = 2 end
    end
  end
end

-- The fence rises even when the store lost its last writes, as long as its clock is not behind by more than a lease.
if taken > 0 then
  clock = clock or redis.call('TIME')
  local last = tonumber(redis.call('HGET', META, 'fence') or '0')
  local first = math.max(clock[1] * 1000000 + clock[2], last + 1)
  redis.call('HSET', META, 'fence', string.format('%.0f', first + taken - 1))
  reply[3], reply[5], reply[6] = string.format('%.0f', first), table.concat(claimed), runs
end
if not left and redis.call('ZADD', T .. ':leases', 'GT', now + lease, worker) == 1 then
  redis.call('HSETNX', T .. ':workers', worker, now .. ' {}')
end
commit()
if lease > 0 and redis.call('LPOP', T .. ':bell:@' .. worker) then reply[4] = reply[4] + 1 end
reply[2] = tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or 0)
return reply
