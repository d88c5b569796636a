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
local answers, answered, results, ended, freed, done = {}, 0, {}, {}, {}, {}
local first_due

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
  local r = load(jid)
  if r and r.state == RUNNING and r.token == token then
    if failure ~= '' then add_error(jid, r, failure) end
    frees(token, 1)
    settle(jid, r, move, delay, reason, value)
    return true
  end
  return r and KEPT[r.state] and r.token ~= '' and r.token == string.sub(token, 1, 4)
end

-- What most come to: processed. The record is cut after `started` and before the spec; what lies between is the same for all jobs
-- of one claim that have neither plan nor an earlier history.
local function settle_processed(token, joined, results_at)
  local jids, kept, sub, byte, find = {}, pushing('RPUSH', KEPT[PROCESSED]), string.sub, string.byte, string.find
  local before, after = sub(history(0, 0, worker, token, ''), 7), sub(history(0, now, worker, sub(token, 1, 4), ''), 7)
  local processed, plain, per_queue, queue, watched = string.char(VERSION, PROCESSED) .. suffix, 0, {}, '', is_watched()
  for i = 1, #joined / 16 do jids[i] = sub(joined, 16 * i - 15, 16 * i) end
  for i, raw in ipairs(values(JOBS, jids)) do
    local jid, value, past, state, flags = jids[i], results_at and outcomes[results_at + i] or '', 0, nil, nil
    if raw and #raw > 15 then
      local _
      _, state, _, _, _, _, _, flags, _, _, _, _, _, _, _, past = byte(raw, 1, 16)
      past = past + 17
    end
    if state == RUNNING and flags == HAS_HISTORY and known[jid] == nil and not done[jid]
      and find(raw, before, past + 6, true) == past + 6 then
      local middle = sub(raw, 5, past + 5)
      if value ~= '' then
        results[#results + 1] = jid
        results[#results + 1] = value
        middle = sub(raw, 5, 7) .. string.char(HAS_HISTORY + HAS_RESULT) .. sub(raw, 9, past + 5)
      end
      write(jid, processed .. middle .. after .. sub(raw, past + 6 + #before))
      file(kept, jid)
      if watched then ring_watchers(jid) end
      if past - 17 ~= #queue or find(raw, queue, 17, true) ~= 17 then queue = sub(raw, 17, past - 1) end
      plain, per_queue[queue], done[jid] = plain + 1, (per_queue[queue] or 0) + 1, token
      answer(true)
    elseif done[jid] then
      answer(done[jid] == token)
    else
      answer(settle_packed(struct.pack(OUTCOME, jid, #token, token, 7, 'process', 0, 0, '', #value, value, 0, '')))
    end
  end
  if plain > 0 then
    for queue, number in pairs(per_queue) do happened('processed', queue, number) end
    count('kept_processed', plain)
    frees(token, plain)
    ends(PROCESSED, plain)
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
