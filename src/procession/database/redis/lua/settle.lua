-- Report what attempts came to. Only the current claim counts.
-- moves: process retry snooze release postpone fail discard crash poison forget
-- flags: allow-oom
-- args: now:int worker processed_bound:int failed_bound:int cancelled_bound:int max_crashes:int *outcomes
-- each: jid, token, move, delay, reason, value and failure, packed
-- reply: 1 accepted | 0 refused, in order
-- uses: record lanes finish

local OUTCOME = '>c16Bc0Bc0I6Bc0I4c0I4c0'
local FINALS = {process = PROCESSED, fail = FAILED, discard = CANCELLED}
local UNCHARGED = {snooze = true, release = true, postpone = true}
local answers, touched, ended = {}, {}, {}
local first_due = tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge)

local function end_as(jid, r, state, reason)
  finish(jid, r, state, reason)
  ended[state] = (ended[state] or 0) + 1
end

local function settle(jid, r, move, delay, reason, value)
  if move == 'crash' then
    crashed(jid, r, max_crashes)
    if KEPT[r.state] then ended[r.state] = (ended[r.state] or 0) + 1 end
    return
  end
  local final = FINALS[move]
  if r.cancel and move ~= 'process' then final, reason = CANCELLED, r.reason end
  if UNCHARGED[move] then r.attempt = math.max(r.attempt - 1, 0) end
  if final then
    if final == PROCESSED and value ~= '' then
      redis.call('HSET', RESULTS, jid, value)
      r.result = true
    end
    end_as(jid, r, final, reason)
    return
  end
  r.worker, r.token, r.reason = '', '', string.sub(reason, 1, 200)
  if move == 'retry' then count('retried', 1) end
  if move == 'release' then
    to_lane(jid, r, true)
  else
    r.state, r.due = DELAYED, now + delay
    redis.call('ZADD', DUE, r.due, jid)
    if r.due < first_due then
      first_due = r.due
      ring(r.queue)
    end
    save(jid, r)
  end
end

-- What happens to most: returned, nothing planned, no result. The record is rewritten without a table.
local processed, kept = 0, pushing('RPUSH', KEPT[PROCESSED])
local function process(jid, raw, token)
  local version, state, flags, priority, attempt, crashes, place, enqueued, queue, at = struct.unpack(HEAD, raw)
  if state ~= RUNNING or flags ~= HAS_HISTORY then return false end
  local started, finished, worker_, current, reason
  started, finished, worker_, current, reason, at = struct.unpack(HISTORY, raw, at)
  if current ~= token then return false end
  place = file(kept, jid)
  write(jid, struct.pack(HEAD, VERSION, PROCESSED, flags, priority, attempt, crashes, place, enqueued, #queue, queue)
    .. struct.pack(HISTORY, started, now, #worker_, worker_, 4, string.sub(token, 1, 4), 0, '') .. string.sub(raw, at))
  ring_watchers(jid)
  processed = processed + 1
  return true
end

local jids, raws, done = {}, {}, {}
for i, outcome in ipairs(outcomes) do jids[i] = string.sub(outcome, 1, 16) end
each_chunk(jids, 4000, function(...)
  for _, raw in ipairs(redis.call('HMGET', JOBS, ...)) do raws[#raws + 1] = raw end
end)
for i, outcome in ipairs(outcomes) do
  local jid, token, move, delay, reason, value, failure = struct.unpack(OUTCOME, outcome)
  if done[jid] then
    answers[i] = done[jid] == token and 1 or 0
  elseif move == 'process' and value == '' and reason == '' and raws[i] and known[jid] == nil and process(jid, raws[i], token) then
    done[jid] = token
    touched[#touched + 1] = jid
    answers[i] = 1
  else
    local r = load(jid)
    if r and r.state == RUNNING and r.token == token then
      if failure ~= '' then add_error(jid, r, failure) end
      settle(jid, r, move, delay, reason, value)
      touched[#touched + 1] = jid
      answers[i] = 1
    else
      answers[i] = r and KEPT[r.state] and r.token ~= '' and r.token == string.sub(token, 1, 4) and 1 or 0
    end
  end
end
if processed > 0 then
  count('processed', processed)
  count('kept_processed', processed)
  ended[PROCESSED] = (ended[PROCESSED] or 0) + processed
end

each_chunk(touched, 4000, function(...) redis.call('SREM', T .. ':held:' .. worker, ...) end)
count('running', -#touched)
commit()
local bounds = {[PROCESSED] = processed_bound, [FAILED] = failed_bound, [CANCELLED] = cancelled_bound}
for state, n in pairs(ended) do trim(state, bounds[state], 2 * n + 10) end
commit()
return answers
