-- Report what attempts came to. Only the current claim counts.
-- moves: process retry snooze release postpone fail discard crash poison forget free
-- flags: allow-oom
-- args: now:int worker processed_bound:int failed_bound:int cancelled_bound:int max_crashes:int *outcomes
-- each: in runs: a claim's token, the jids that were processed, joined, '1', and the result of each, or '0' when none returned anything; or '', how many, then each other outcome packed
-- reply: a byte each in order: 1 accepted | 0 refused
-- uses: record held lanes limits finish
-- seldom: settle_packed shed end_minute packed each_chunk counts_in

local OUTCOME = '>c16Bc0Bc0I6Bc0I4c0I4c0'
local FINALS = {process = PROCESSED, fail = FAILED, discard = CANCELLED}
local UNCHARGED = {snooze = true, release = true, postpone = true}
local answers, answered, results, ended, freed = {}, 0, {}, {}, {}
local done = {}  -- jid → token of those whose records were cut, and are not written yet
local first_due
local its_number = number_and_token(worker)

local function answer(accepted)
  answered = answered + 1
  answers[answered] = accepted and '1' or '0'
end

local function ends(state, number)
  ended[state] = (ended[state] or 0) + number
end

local function frees(token, number)
  freed[token] = (freed[token] or 0) + number
  count('running', -number)
end

local function settle(jid, r, move, delay, reason, value)
  if move == 'crash' then
    crashed(jid, r, max_crashes)
    if KEPT[r.state] then ends(r.state, 1) end
    return
  end
  local final = FINALS[move]
  if r.cancel and move ~= 'process' then final, reason = CANCELLED, r.reason end
  if UNCHARGED[move] then r.attempt = math.max(r.attempt - 1, 0) end
  if final then
    if final == PROCESSED and value ~= '' then
      results[#results + 1] = jid
      results[#results + 1] = value
      r.result = true
    end
    finish(jid, r, final, reason)
    ends(final, 1)
    return
  end
  r.worker, r.token, r.reason = '', '', string.sub(reason, 1, 200)
  if move == 'retry' then happened('retried', r.queue, 1) end
  if move == 'release' then
    to_lane(jid, r, true)
  else
    if r.rules then limits().give_back(jid, r) end
    r.state, r.due = DELAYED, now + delay
    first_due = first_due or tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge)
    redis.call('ZADD', DUE, r.due, jid)
    if r.due < first_due then
      first_due = r.due
      ring(r.queue)
    end
    save(jid, r)
  end
end

local function settle_packed(outcome)
  local jid, token, move, delay, reason, value, failure = struct.unpack(OUTCOME, outcome)
  if done[jid] then return done[jid] == token end
  local r = load(jid)
  if r and r.state == RUNNING and r.token == token then
    if failure ~= '' then add_error(jid, r, failure) end
    frees(token, 1)
    settle(jid, r, move, delay, reason, value)
    return true
  end
  return r and KEPT[r.state] and r.token ~= '' and r.token == string.sub(token, 1, 4)
end

-- What most come to: processed. The record of a job that has neither plan nor an earlier history is cut in front of `enqueued`: what
-- stands there is the same for all jobs of one claim that are alike. The first of them makes the pattern by which the next is known and
-- joined anew; what fits none is settled like any other outcome.
local function settle_processed(token, joined, results_at)
  local jids, others, sub, find = {}, {}, string.sub, string.find
  for i = 1, #joined / 16 do jids[i] = sub(joined, 16 * i - 15, 16 * i) end
  local raws, kept, watched, all_new = values(JOBS, jids), pushing('RPUSH', KEPT[PROCESSED]), is_watched(), next(known) == nil
  local before, after
  if its_number then before, after = sub(running_since(0, worker, token, ''), 7), sub(past(0, now, worker, sub(token, 1, 4), ''), 7) end
  local head, its_head, its_head_with_result, from, queue, alike, plain, per_queue, its_suffix = nil, nil, nil, nil, nil, 0, 0, {}, nil

  local function made_from(raw)
    if not before or #raw < 10 or string.byte(raw, 2) ~= RUNNING or string.byte(raw, 8) ~= HAS_HISTORY then return false end
    local at = 11 + string.byte(raw, 10)
    if find(raw, before, at + 6, true) ~= at + 6 then return false end
    if queue then per_queue[queue] = (per_queue[queue] or 0) + alike end
    queue, alike, from = sub(raw, 11, at - 1), 0, at + 6 + #before
    head = sub(raw, 1, from - 1)
    local place = string.byte(raw, 4) > 0 and new_place() or 0
    its_suffix = place > 0 and suffix
    local first = struct.pack('>BBH', VERSION, PROCESSED, place) .. sub(raw, 5, 7)
    local flags, rest = HAS_HISTORY, sub(raw, 9, at + 5) .. after
    its_head, its_head_with_result = first .. string.char(flags) .. rest, first .. string.char(flags + HAS_RESULT) .. rest
    return true
  end

  local wrote_now, pushed, accepted = wrote, kept.n, answered
  for i = 1, #jids do
    local jid, raw = jids[i], raws[i]
    if raw and not done[jid] and (all_new or known[jid] == nil)
      and (head and find(raw, head, 1, true) == 1 or made_from(raw)) and #raw > from + 4 then
      local value, its = results_at and outcomes[results_at + i] or '', its_head
      if value ~= '' then
        results[#results + 1] = jid
        results[#results + 1] = value
        its = its_head_with_result
      end
      fields[wrote_now + 1], fields[wrote_now + 2] = jid, its .. sub(raw, from)
      wrote_now, pushed, alike, plain = wrote_now + 2, pushed + 1, alike + 1, plain + 1
      kept[pushed], done[jid], answers[accepted + i] = its_suffix and jid .. its_suffix or jid, token, '1'
      if watched then ring_watchers(jid) end
    else
      others[#others + 1] = i
    end
  end
  wrote, kept.n, answered = wrote_now, pushed, accepted + #jids
  if plain > 0 then
    per_queue[queue] = (per_queue[queue] or 0) + alike
    for queue, number in pairs(per_queue) do happened('processed', queue, number) end
    count('kept_processed', plain)
    frees(token, plain)
    ends(PROCESSED, plain)
  end
  for _, i in ipairs(others) do
    local jid, value = jids[i], results_at and outcomes[results_at + i] or ''
    local outcome = struct.pack(OUTCOME, jid, #token, token, 7, 'process', 0, 0, '', #value, value, 0, '')
    answers[accepted + i] = settle_packed(outcome) and '1' or '0'
  end
end

local at = 1
while outcomes[at] do
  local token, what, number = outcomes[at], outcomes[at + 1], 0
  if token ~= '' then
    if outcomes[at + 2] == '1' then number = #what / 16 end
    settle_processed(token, what, number > 0 and at + 2)
    at = at + 3 + number
  else
    number = tonumber(what)
    for i = at + 2, at + 1 + number do answer(settle_packed(outcomes[i])) end
    at = at + 2 + number
  end
end

for token, number in pairs(freed) do let_go(worker, token, number) end
call_with('HSET', RESULTS, results)
commit()
local bounds = {[PROCESSED] = processed_bound, [FAILED] = failed_bound, [CANCELLED] = cancelled_bound}
for state, number in pairs(ended) do trim(state, bounds[state], 2 * number + 10) end
commit()
return table.concat(answers)
