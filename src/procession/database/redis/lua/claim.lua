-- Take ready jobs: out of their lanes, attempt + 1, worker and token written, held by a lease.
-- moves: claim expire free
-- flags: allow-oom
-- args: now:int worker token after limit:int lease:int ageing:int *queues
-- reply: now next_due fence called rows…; a row is jid, attempt, crashes, number of the queue (and 32768 with a deadline, and the deadline), since when it was ready, spec; its fence is one more each
-- uses: one_claim record held lanes limits ageing finish unique
-- seldom: take add held_of load packed each_chunk unpacked write_tallies pop_aged

local claimed, reply, taken = {}, {now, 0, '0', 0}, 0
local UNKNOWN = '\0\0\0\0\0\0'

-- A row of a job that was taken apart.
local function add(jid, ready, r, number)
  local deadline = r.rules and deadline_of(jid) or 0
  local facts = struct.pack('>HBH', r.attempt, r.crashes, deadline > 0 and number + 32768 or number)
  if deadline > 0 then facts = facts .. struct.pack('>I6', deadline) end
  local spec = r.apart and redis.call('HGET', SPECS, jid) or r.spec
  taken = taken + 1
  claimed[taken], reply[4 + taken] = jid, jid .. facts .. ready .. spec
end

-- A job that has run, been planned or lies apart is taken apart.
local function take(jid, r, number)
  if not r then return false end  -- damaged; the audit finds it
  if r.expires > 0 and r.expires <= now and r.attempt == 0 then
    finish(jid, r, CANCELLED, 'expired')
    return false
  end
  local ready = struct.pack('>I6', r.due > 0 and r.due or r.attempt == 0 and r.started == 0 and r.enqueued or 0)
  r.state, r.place, r.attempt, r.started, r.finished, r.due = RUNNING, 0, math.min(r.attempt + 1, 65535), now, 0, 0
  r.worker, r.token, r.reason, r.cancel = worker, token, '', false
  save(jid, r)
  add(jid, ready, r, number)
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
    add(jid, UNKNOWN, r, numbers[r.queue] or 32767)
  end
elseif not left then
  redis.call('HSET', T .. ':tokens', worker, struct.pack('>I4', number or new_number(worker)) .. token)
  local running = struct.pack('>BBHHBB', VERSION, RUNNING, 0, 1, 0, HAS_HISTORY)
  local since, sub, find = running_since(now, worker, token, ''), string.sub, string.find
  local in_turn = not last or after == '' or after == last
  local paused = values(T .. ':paused', queues)
  for i, queue in ipairs(queues) do
    if in_turn and taken < limit and not paused[i] then
      local facts, from, before, its_head = struct.pack('>HBH', 1, 0, i - 1), 11 + #queue, nil, nil
      local function take_raw(jid, raw, whose)
        if #raw < from + 5 or not whose and find(raw, UNTOUCHED, 5, true) ~= 5 then return take(jid, unpacked(raw), i - 1) end
        whose = whose or sub(raw, 9, from - 1)
        if whose ~= before then before, its_head = whose, running .. whose .. since end
        local enqueued_and_spec = sub(raw, from)
        fields[wrote + 1], fields[wrote + 2] = jid, its_head .. enqueued_and_spec
        wrote, taken = wrote + 2, taken + 1
        claimed[taken], reply[4 + taken] = jid, jid .. facts .. enqueued_and_spec
        return true
      end
      if ageing > 0 then pop_aged(queue, limit - taken, ageing, take_raw) else pop_live(queue, limit - taken, take_raw) end
    end
  end
  hold(worker, token, claimed)
  count('running', taken)
  for i, queue in ipairs(queues) do
    if not paused[i] and redis.call('EXISTS', lanes_key(queue)) == 1 then ring(queue) end
  end
end

-- The fence rises even when the store lost its last writes, as long as its clock is not behind by more than a lease.
if taken > 0 then
  clock = clock or redis.call('TIME')
  local last = tonumber(redis.call('HGET', META, 'fence') or '0')
  local first = math.max(clock[1] * 1000000 + clock[2], last + 1)
  redis.call('HSET', META, 'fence', string.format('%.0f', first + taken - 1))
  reply[3] = string.format('%.0f', first)
end
if not left and redis.call('ZADD', T .. ':leases', 'GT', now + lease, worker) == 1 then
  redis.call('HSETNX', T .. ':workers', worker, now .. ' {}')
end
commit()
if lease > 0 and redis.call('LPOP', T .. ':bell:@' .. worker) then reply[4] = 1 end
reply[2] = tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or 0)
return reply
