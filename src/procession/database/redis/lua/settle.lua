-- Report what attempts came to. Only the current claim counts.
-- moves: process retry snooze release postpone fail discard crash poison forget
-- flags: allow-oom
-- args: now:int worker processed_bound:int failed_bound:int cancelled_bound:int max_crashes:int *outcomes
-- each: jid token move delay reason value failure
-- reply: 1 accepted | 0 refused, in order
-- uses: record lanes finish

local answers, released, touched, due_rung = {}, {}, {}, {}
local finals = {process = PROCESSED, fail = FAILED, discard = CANCELLED}
local uncharged = {snooze = true, release = true, postpone = true}
local bounds = {[PROCESSED] = processed_bound, [FAILED] = failed_bound, [CANCELLED] = cancelled_bound}
local counted = {}
local first_due = redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
first_due = first_due and tonumber(first_due)

local function settle(jid, r, move, delay, reason, value)
  if move == 'crash' then
    crashed(jid, r, max_crashes)
    if r.state ~= QUEUED then counted[r.state] = (counted[r.state] or 0) + 1 end
    return
  end
  local final = finals[move]
  if r.cancel == 1 and move ~= 'process' then final, reason = CANCELLED, r.reason end
  if uncharged[move] then r.attempt = math.max(r.attempt - 1, 0) end
  if final then
    if final == PROCESSED and value ~= '' then redis.call('HSET', RESULTS, jid, value) end
    finish(jid, r, final, reason)
    counted[final] = (counted[final] or 0) + 1
    return
  end
  r.worker, r.token, r.reason = '', '', string.sub(reason, 1, 200)
  if move == 'retry' then count('retried', 1) end
  if move == 'release' then
    to_lane(jid, r, true)
    released[r.queue] = true
  else
    r.state, r.due = DELAYED, now + delay
    redis.call('ZADD', DUE, r.due, jid)
    if not first_due or r.due < first_due then first_due, due_rung[r.queue] = r.due, true end
    save(jid, r)
  end
end

for i = 1, #outcomes, 7 do
  local jid, token = outcomes[i], outcomes[i + 1]
  local r = load(jid)
  if r and r.state == RUNNING and r.token == token then
    if outcomes[i + 6] ~= '' then add_error(jid, outcomes[i + 6]) end
    settle(jid, r, outcomes[i + 2], tonumber(outcomes[i + 3]), outcomes[i + 4], outcomes[i + 5])
    touched[#touched + 1] = jid
    answers[#answers + 1] = 1
  else
    local known = r and r.state >= PROCESSED and r.token ~= '' and r.token == token
    answers[#answers + 1] = known and 1 or 0
  end
end

each_chunk(touched, 2000, function(...) redis.call('SREM', T .. ':held:' .. worker, ...) end)
count('running', -#touched)
for state, n in pairs(counted) do trim(state, bounds[state], 2 * n + 10) end
write_depths()
write_counts()
for queue in pairs(released) do ring(queue) end
for queue in pairs(due_rung) do ring(queue) end
return answers
