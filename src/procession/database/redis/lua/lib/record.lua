-- The record of a job, one string in the hash `jobs`, and the unit of work that gathers what a script changes.
--
-- The record is laid out so that the moves which run most cut it and join it anew instead of taking it apart, once each: what stands
-- in front of `enqueued` is the same for all jobs that are alike and were filed, or claimed, together.
--
--    1  version, state, place (2)         written by every move
--    5  attempt (2), crashes, flags
--    9  priority, length of the queue's name, the name: never change
--       history, when its flag is set:    started (6), finished (6) unless it runs, number of the worker (4), token and reason, each with
--                                         its length in front
--       enqueued (6): never changes
--       plan, when its flag is set:       due (6), expires (6)
--       spec, as it was asked for; one over 1 kB lies in `specs`, so that no move rewrites it
--
-- Rules (unique key, deadline, limit) lie in the hash `rules`; a flag says that there are some.
--
-- The layout is known here and in `records.py`; only `enqueue`, `claim` and `settle` cut, by the names of this file.

local QUEUED, DELAYED, BLOCKED, RUNNING, PROCESSED, FAILED, CANCELLED = 1, 2, 3, 4, 5, 6, 7
local NAMES = {'queued', 'delayed', 'blocked', 'running', 'processed', 'failed', 'cancelled'}
local JOBS = T .. ':jobs'
local SPECS = T .. ':specs'
local ERRORS = T .. ':errors'
local RESULTS = T .. ':results'
local DUE = T .. ':due'
local UNIQUE = T .. ':unique'
local RULES = T .. ':rules'
local DEADLINES = T .. ':deadlines'
local NOTES = T .. ':notes'
local META = T .. ':meta'
local WORKER_NAMES = T .. ':names'
local COUNTERS = T .. ':counters'
local VERSION, LONG_SPEC = 1, 1024
local HEAD, RUN, PAST, ENQUEUED_AT, PLAN = '>BBHHBBbBc0', '>I6I4Bc0Bc0', '>I6I6I4Bc0Bc0', '>I6', '>I6I6'
local HAS_PLAN, HAS_HISTORY, CANCEL, HAS_ERRORS, HAS_RESULT, APART, HAS_RULES, HAS_NOTES = 1, 2, 4, 8, 16, 32, 64, 128

local clock = now == 0 and redis.call('TIME')
if clock then now = clock[1] * 1000 + math.floor(clock[2] / 1000) end

-- A record has a worker's number in place of its name, which is long and the same in all that it ran; 0 is nobody. The name of one
-- that was forgotten is its number behind a question mark, so that such a record stays what it is when it is written again.
local worker_numbers, worker_names = {[''] = 0}, {[0] = ''}
local function known_as(worker, number)
  worker_numbers[worker], worker_names[number] = number, worker
end

local function name_of(number)
  if not worker_names[number] then known_as(redis.call('HGET', WORKER_NAMES, number) or '?' .. number, number) end
  return worker_names[number]
end

local function taken_apart(raw)
  local version, state, place, attempt, crashes, flags, priority, queue, at = struct.unpack(HEAD, raw)
  local enqueued, due, expires, started, finished, worker, token, reason = 0, 0, 0, 0, 0, '', '', ''
  if flags % 4 >= 2 and state == RUNNING then
    started, worker, token, reason, at = struct.unpack(RUN, raw, at)
    worker = name_of(worker)
  elseif flags % 4 >= 2 then
    started, finished, worker, token, reason, at = struct.unpack(PAST, raw, at)
    worker = name_of(worker)
  end
  enqueued, at = struct.unpack(ENQUEUED_AT, raw, at)
  if flags % 2 == 1 then due, expires, at = struct.unpack(PLAN, raw, at) end
  return version == VERSION and NAMES[state] and {
    state = state, priority = priority, attempt = attempt, crashes = crashes, place = place, enqueued = enqueued, queue = queue,
    due = due, expires = expires, started = started, finished = finished, worker = worker, token = token, reason = reason,
    cancel = flags % 8 >= 4, errors = flags % 16 >= 8, result = flags % 32 >= 16, apart = flags % 64 >= 32, rules = flags % 128 >= 64,
    notes = flags >= HAS_NOTES, spec = string.sub(raw, at),
  }
end

-- Answers nil for bytes that are no record: one that is damaged must not stop a script that meets it.
local function unpacked(raw)
  local readable, r = pcall(taken_apart, raw)
  return readable and r or nil
end

local function running_since(started, worker, token, reason)
  return struct.pack(RUN, started, worker_numbers[worker], #token, token, #reason, reason)
end

local function past(started, finished, worker, token, reason)
  return struct.pack(PAST, started, finished, worker_numbers[worker], #token, token, #reason, reason)
end

local function packed(r)
  local flags, plan, history = 0, '', ''
  if r.due > 0 or r.expires > 0 then flags, plan = HAS_PLAN, struct.pack(PLAN, r.due, r.expires) end
  if r.started > 0 or r.finished > 0 or r.worker ~= '' or r.token ~= '' or r.reason ~= '' then
    flags = flags + HAS_HISTORY
    history = r.state == RUNNING and running_since(r.started, r.worker, r.token, r.reason)
      or past(r.started, r.finished, r.worker, r.token, r.reason)
  end
  if r.cancel then flags = flags + CANCEL end
  if r.errors then flags = flags + HAS_ERRORS end
  if r.result then flags = flags + HAS_RESULT end
  if r.apart then flags = flags + APART end
  if r.rules then flags = flags + HAS_RULES end
  if r.notes then flags = flags + HAS_NOTES end
  return struct.pack(HEAD, VERSION, r.state, r.place, r.attempt, r.crashes, flags, r.priority, #r.queue, r.queue)
    .. history .. struct.pack(ENQUEUED_AT, r.enqueued) .. plan .. r.spec
end

-- One command per chunk of many arguments: `unpack` fails above about 8,000 values.
local function each_chunk(items, size, call)
  for first = 1, #items, size do
    call(unpack(items, first, math.min(first + size - 1, #items)))
  end
end

-- Many values of a hash in the order asked, false for what is not there.
local function values(key, names)
  if #names == 0 then return {} end
  if #names <= 4000 then return redis.call('HMGET', key, unpack(names)) end
  local found, n = {}, 0
  each_chunk(names, 4000, function(...)
    for _, value in ipairs(redis.call('HMGET', key, ...)) do
      n = n + 1
      found[n] = value
    end
  end)
  return found
end

-- One command with many arguments, or as many commands as it needs.
local function call_with(command, key, items)
  if #items == 0 then return end
  if #items <= 4000 then return redis.call(command, key, unpack(items)) end
  each_chunk(items, 4000, function(...) redis.call(command, key, ...) end)
end

-- The unit of work: what a script changes is gathered while it runs and written by `commit`, each kind of write in one command
-- for all jobs. `known` is what was read so far: a record, or false for a job that is not there.
local known, dirty, changed, gone, fields, wrote, pushes, depths, deltas, rung = {}, {}, {}, {}, {}, 0, {}, {}, {}, {}
local totals = {}  -- what the counters that were changed came to

local function load(jid)
  local r = known[jid]
  if r == nil then
    local raw = redis.call('HGET', JOBS, jid)
    r = raw and unpacked(raw) or false
    known[jid] = r
  end
  return r
end

-- Read many records with one command, so that `load` finds them.
local function load_all(jids)
  for i, raw in ipairs(values(JOBS, jids)) do
    if known[jids[i]] == nil then known[jids[i]] = raw and unpacked(raw) or false end
  end
end

local function save(jid, r)
  known[jid] = r
  if not dirty[jid] then
    dirty[jid] = true
    changed[#changed + 1] = jid
  end
end

-- A record that was cut and joined goes past `known`.
local function write(jid, raw)
  fields[wrote + 1], fields[wrote + 2] = jid, raw
  wrote = wrote + 2
end

local function log_key(jid)
  return T .. ':log:' .. jid
end

-- Leave nothing of a job but its entries in lists, which are tombstones then.
local function drop(jid, r)
  if r.apart then redis.call('HDEL', SPECS, jid) end
  if r.errors then redis.call('HDEL', ERRORS, jid) end
  if r.result then redis.call('HDEL', RESULTS, jid) end
  if r.rules then
    local key = string.sub(redis.call('HGET', RULES, jid) or '', 1, 16)
    if redis.call('HGET', UNIQUE, key) == jid then redis.call('HDEL', UNIQUE, key) end
    redis.call('HDEL', RULES, jid)
    redis.call('ZREM', DEADLINES, jid)
  end
  if r.notes then
    redis.call('HDEL', NOTES, jid)
    redis.call('UNLINK', log_key(jid))
  end
  known[jid] = false
  gone[#gone + 1] = jid
end

local function count(name, by)
  deltas[name] = (deltas[name] or 0) + by
end

local function deepen(queue, by)
  depths[queue] = (depths[queue] or 0) + by
end

-- What happened is counted by minute and by hour: one hash for each, a series → counts by slot, five bytes a slot that is not 0.
-- A series is a kind (`e` events, `h` histograms, `d` depths) and a scope ('' all, `q` a queue, `n` a job's name). Two commands per script
-- write it, whatever the number of jobs: into its minute. Whoever begins a minute adds the one before to its hour; until then
-- `meta` names it, and it is kept as long as an hour. What is counted in a minute after that, because the clock went back, goes into
-- both. See `database/measures.py`.
local ENQUEUED = 0
local EVENTS = {enqueued = ENQUEUED, processed = 1, failed = 2, retried = 3, cancelled = 4}
local MINUTE_KEPT, HOUR_KEPT = 90000, 691200  -- seconds
local BUCKETS = {{':minute:', 60000, MINUTE_KEPT}, {':hour:', 3600000, HOUR_KEPT}}  -- name, its width in ms, how long it is kept
local SERIES, DEPTHS, SLOT, SLOT_BYTES, MOST_COUNTED = 2000, 100, '>BI4', 5, 4294967295
local ADDED = 'added'  -- a field of a minute that was added to its hour
local tallies, tallied = {}, false

local function tally(series, slot, by)
  local counts = tallies[series] or {}
  tallies[series], tallied = counts, true
  counts[slot] = (counts[slot] or 0) + by
end

local function happened(event, queue, by)
  if by == 0 then return end
  count(event, by)
  tally('e', EVENTS[event], by)
  tally('eq' .. queue, EVENTS[event], by)
end

local function counts_in(raw)
  local counts = {}
  for at = 1, #raw, SLOT_BYTES do
    local slot, number = struct.unpack(SLOT, raw, at)
    counts[slot] = number
  end
  return counts
end

local function added(raw, counts)
  local slot, by = next(counts)
  if next(counts, slot) == nil then  -- one slot, as most are, is changed where it stands
    for at = 1, #raw, SLOT_BYTES do
      if string.byte(raw, at) == slot then
        local _, number = struct.unpack(SLOT, raw, at)
        return string.sub(raw, 1, at) .. struct.pack('>I4', math.min(number + by, MOST_COUNTED)) .. string.sub(raw, at + SLOT_BYTES)
      end
    end
    return raw .. struct.pack(SLOT, slot, math.min(by, MOST_COUNTED))
  end
  local sums, parts = counts_in(raw), {}
  for slot, by in pairs(counts) do sums[slot] = (sums[slot] or 0) + by end
  for slot, number in pairs(sums) do parts[#parts + 1] = struct.pack(SLOT, slot, math.min(number, MOST_COUNTED)) end
  return table.concat(parts)
end

-- Answers whether the bucket is new, and whether it was added to another.
local function add_tallies(key, tallies)
  local names, rows, others, room, fresh = {}, {}, {}, nil, false
  for series in pairs(tallies) do names[#names + 1] = series end
  names[#names + 1] = ADDED
  local before = values(key, names)
  names[#names] = nil
  for i, series in ipairs(names) do
    local raw = before[i]
    if not raw then
      room = (room or SERIES - redis.call('HLEN', key)) - 1
      fresh = fresh or room == SERIES - 1
    end
    if not raw and room < 0 and #series > 2 then
      others[#others + 1] = series
    else
      rows[#rows + 1] = series
      rows[#rows + 1] = added(raw or '', tallies[series])
    end
  end
  call_with('HSET', key, rows)
  for _, series in ipairs(others) do  -- there are too many, so its name is left out
    local other = string.sub(series, 1, 2)
    redis.call('HSET', key, other, added(redis.call('HGET', key, other) or '', tallies[series]))
  end
  if fresh then redis.call('EXPIRE', key, HOUR_KEPT) end
  return fresh, before[#names + 1]
end

local function minute_key(minute)
  return T .. ':minute:' .. minute
end

-- How deep the queues are, in series of a kind of its own (`d`): those of the deepest hundred, and of all with a 1 beside it, so
-- that the sum over an hour says how many minutes it is of.
local function depths_now()
  local found, deep, all, series = redis.call('HGETALL', T .. ':depth'), {}, 0, {}
  for i = 1, #found, 2 do
    local depth = tonumber(found[i + 1])
    if depth > 0 then
      all = all + depth
      deep[#deep + 1] = {found[i], depth}
    end
  end
  if #deep > DEPTHS then
    table.sort(deep, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  end
  for i = 1, math.min(#deep, DEPTHS) do series['dq' .. deep[i][1]] = {[0] = deep[i][2]} end
  series.d = {[0] = all, [1] = 1}
  return series
end

local function hour_key(minute)
  return T .. ':hour:' .. math.floor(minute / 60)
end

local function end_minute(minute)
  if not tallies.d then add_tallies(minute_key(minute), depths_now()) end
  local last = redis.call('HGET', META, 'minute')
  redis.call('HSET', META, 'minute', minute)
  if not last or tonumber(last) == minute then return end
  local sums, found = {}, redis.call('HGETALL', minute_key(last))
  for i = 1, #found, 2 do sums[found[i]] = counts_in(found[i + 1]) end
  if next(sums) then
    add_tallies(hour_key(last), sums)
    redis.call('HSET', minute_key(last), ADDED, 1)
  end
  redis.call('EXPIRE', minute_key(last), MINUTE_KEPT)
end

local function write_tallies()
  local minute = math.floor(now / 60000)
  local fresh, added_before = add_tallies(minute_key(minute), tallies)
  if fresh then end_minute(minute) elseif added_before then add_tallies(hour_key(minute), tallies) end
end

-- A minute begins although nothing is counted in it yet, so that it is known how deep the queues were.
local function begin_minute()
  if redis.call('EXISTS', minute_key(math.floor(now / 60000))) == 1 then return end
  tallies = depths_now()
  write_tallies()
  tallies = {}
end

-- A bell holds at most one ring. One that nobody waited for is heard by the next who waits; that of a caller or a worker fades in a
-- minute, for its name does not come again.
local BELL_FADES = 60  -- seconds
local function ring(name)
  rung[name] = true
end

-- An entry of a list is a job's id and its place, two bytes that are new for each script which files. No removal searches a
-- list: an entry whose place its job's record does not name any more is a tombstone. A job that is filed for the first time has
-- place 0, and its entry is its id alone: in its lane as it is enqueued, and then, if all goes well, as a processed one. So the
-- record of one that runs says by its place, 0 or 1, which of the two it was.
local place_now, suffix
local function new_place()
  if not place_now then
    place_now = redis.call('HINCRBY', META, 'places', 1) % 65535 + 1
    suffix = struct.pack('>H', place_now)
  end
  return place_now
end

-- The records that entries of a list name, false for what is not there.
local function raws_of(entries)
  local jids, sub = {}, string.sub
  for i = 1, #entries do
    local entry = entries[i]
    jids[i] = #entry == 16 and entry or sub(entry, 1, 16)
  end
  return values(JOBS, jids), jids
end

-- True when an entry is no tombstone: its job's record is in that state and names it. Compared by number, for each `sub` makes a
-- string.
local function is_filed(raw, entry, in_state)
  if not raw then return false end
  local version, state, high, low = string.byte(raw, 1, 4)
  local its_high, its_low = string.byte(entry, 17, 18)
  return version == VERSION and state == in_state and high == (its_high or 0) and low == (its_low or 0)
end

-- What one command is going to push to one list.
local function pushing(command, key)
  local name = command .. key
  pushes[name] = pushes[name] or {n = 0, command = command, key = key, done = false}
  return pushes[name]
end

local function push_entry(push, entry)
  local n = push.n + 1
  push.n, push[n] = n, entry
end

-- Answers the place.
local function file(push, jid)
  local place = new_place()
  push_entry(push, jid .. suffix)
  return place
end

local limits_made  -- by `limits.lua`, when a job under a limit has come by
local function commit()
  if limits_made then limits_made.hand_on() end
  for _, jid in ipairs(changed) do
    local r = known[jid]
    if r then write(jid, packed(r)) end
  end
  call_with('HSET', JOBS, fields)
  call_with('HDEL', JOBS, gone)
  for _, push in pairs(pushes) do
    call_with(push.command, push.key, push)
    push.done = true
  end
  for queue, by in pairs(depths) do
    if by ~= 0 then redis.call('HINCRBY', T .. ':depth', queue, by) end
  end
  for name, by in pairs(deltas) do
    if by ~= 0 then totals[name] = redis.call('HINCRBY', COUNTERS, name, by) end
  end
  if tallied then
    write_tallies()
    tallies, tallied = {}, false
  end
  for name in pairs(rung) do
    local bell = T .. ':bell:' .. name
    if redis.call('LLEN', bell) == 0 then
      redis.call('RPUSH', bell, '1')
      if string.byte(name) == 64 then redis.call('EXPIRE', bell, BELL_FADES) end  -- @
    end
  end
  dirty, changed, gone, fields, wrote, pushes, depths, deltas, rung = {}, {}, {}, {}, 0, {}, {}, {}, {}
end
