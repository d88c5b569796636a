-- Report what attempts came to. Only the current claim counts.
-- moves: process retry snooze release postpone fail discard crash poison forget free
-- flags: allow-oom
-- args: now:int worker processed_bound:int failed_bound:int cancelled_bound:int max_crashes:int *outcomes
-- each: in runs: a claim's token, how many, then jid and result of each that was processed; or '', how many, then each other outcome packed
-- reply: 1 accepted | 0 refused, in order
-- uses: record held lanes limits finish

local OUTCOME = '>c16Bc0Bc0I6Bc0I4c0I4c0'
local FINALS = {process = PROCESSED, fail = FAILED, discard = CANCELLED}
local UNCHARGED = {snooze = true, release = true, postpone = true}
local answers, answered, results, ended, freed, done = {}, 0, {}, {}, {}, {}
local first_due = tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge)

local function answer(accepted)
  answered = answered + 1
  answers[answered] = accepted and 1 or 0
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
local function settle_processed(first, token, number)
  local jids, kept, sub, byte = {}, pushing('RPUSH', KEPT[PROCESSED]), string.sub, string.byte
  local before, after = sub(history(0, 0, worker, token, ''), 7), sub(history(0, now, worker, sub(token, 1, 4), ''), 7)
  new_place()
  local processed, plain, per_queue = string.char(VERSION, PROCESSED) .. suffix, 0, {}
  for i = 1, number do jids[i] = outcomes[first + 2 * (i - 1)] end
  for i, raw in ipairs(values(JOBS, jids)) do
    local jid, value = jids[i], outcomes[first + 2 * i - 1]
    local past = raw and #raw > 15 and 17 + byte(raw, 16)
    if past and known[jid] == nil and not done[jid] and byte(raw, 2) == RUNNING and byte(raw, 8) == HAS_HISTORY
      and sub(raw, past + 6, past + 5 + #before) == before then
      local middle = sub(raw, 5, past + 5)
      if value ~= '' then
        results[#results + 1] = jid
        results[#results + 1] = value
        middle = sub(raw, 5, 7) .. string.char(HAS_HISTORY + HAS_RESULT) .. sub(raw, 9, past + 5)
      end
      write(jid, processed .. middle .. after .. sub(raw, past + 6 + #before))
      file(kept, jid)
      ring_watchers(jid)
      local queue = sub(raw, 17, past - 1)
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
  local token, number = outcomes[at], tonumber(outcomes[at + 1])
  if token ~= '' then
    settle_processed(at + 2, token, number)
    at = at + 2 + 2 * number
  else
    for i = at + 2, at + 1 + number do answer(settle_packed(outcomes[i])) end
    at = at + 2 + number
  end
end

for token, number in pairs(freed) do let_go(worker, token, number) end
each_chunk(results, 4000, function(...) redis.call('HSET', RESULTS, ...) end)
commit()
local bounds = {[PROCESSED] = processed_bound, [FAILED] = failed_bound, [CANCELLED] = cancelled_bound}
for state, number in pairs(ended) do trim(state, bounds[state], 2 * number + 10) end
commit()
return answers
