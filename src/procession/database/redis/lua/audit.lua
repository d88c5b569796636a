-- Hold one page of the store against the rest of it, and mend what is wrong when asked.
-- moves: free
-- flags: allow-oom
-- args: now:int part position limit:int mend:int lease:int subject
-- reply: next position ('' at the end) · number looked at · findings of kind id where mended · why not · name value in turn
-- uses: record held lanes limits finish unique audit

mending = mend == 1
local tallies, checked, unchecked = {}, 0, ''
local cursor = position == '' and '0' or position

local function following(at)
  return at ~= '0' and at or ''
end

local parts = {}

function parts.workers()
  for _, worker in ipairs(redis.call('HKEYS', WORKERS)) do check_lease(worker, lease) end
  check_tokens()
  for _, worker in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
    check_claims(worker)
    checked = checked + 1
  end
  return ''
end

-- One shelf a page: `position` is the last one.
function parts.shelves()
  local names = redis.call('HKEYS', DEPTH)
  for state in pairs(FINAL) do names[#names + 1] = state end
  table.sort(names)
  for _, shelf in ipairs(names) do
    if shelf > position then
      checked = recount(shelf)
      tallies[shelf] = checked
      if mending then redis.call('HDEL', DOUBTS, shelf) end
      return shelf
    end
  end
  return ''
end

function parts.jobs()
  local looked, at = {}, ''
  at, checked = check_records(cursor, limit, lease, function(jid, r, shelf)
    if r.state == QUEUED and not looked[shelf] then
      looked[shelf] = true
      if redis.call('HEXISTS', DEPTH, shelf) == 0 then recount(shelf) end
    end
    tallies[shelf] = (tallies[shelf] or 0) + 1
    if r.state == QUEUED and r.apart and redis.call('HEXISTS', SPECS, jid) == 0 then
      findings[#findings + 1] = {'no spec', jid, shelf, 0}
    end
  end)
  return following(at)
end

-- The jobs that belong on one shelf, `subject`, and have no entry there.
function parts.stranded()
  local live, at = {}, ''
  each_live(subject, function(jid) live[jid] = true end)
  at, checked = check_records(cursor, limit, lease, function(jid, r, shelf)
    if shelf == subject and not live[jid] then refile(jid, r) end
  end)
  return following(at)
end

function parts.due()
  local page = redis.call('ZSCAN', DUE, cursor, 'COUNT', limit)
  for i = 1, #page[2], 2 do
    local r = load(page[2][i])
    if not (r and r.state == DELAYED) and wrong('index without job', page[2][i], 'due') then
      redis.call('ZREM', DUE, page[2][i])
    end
  end
  checked = #page[2] / 2
  return following(page[1])
end

-- What is kept of a job beside its record. Values may be large, so a page is a tenth of the others.
local function beside(key, kind, mended)
  return function()
    local page = redis.call('HSCAN', key, cursor, 'COUNT', math.max(math.floor(limit / 10), 1))
    for i = 1, #page[2], 2 do
      if not load(page[2][i]) and wrong(kind, page[2][i], string.sub(key, #T + 2)) then mended(key, page[2][i]) end
    end
    checked = #page[2] / 2
    return following(page[1])
  end
end
local function deleted(key, jid) redis.call('HDEL', key, jid) end
parts.specs = beside(SPECS, 'record lost', function(_, jid) bury(jid, 'record lost', '', true) end)
parts.errors, parts.results = beside(ERRORS, 'left over', deleted), beside(RESULTS, 'left over', deleted)
parts.notes = beside(NOTES, 'left over', deleted)

function parts.rules()
  local page = redis.call('HSCAN', RULES, cursor, 'COUNT', limit)
  for i = 1, #page[2], 2 do
    local jid = page[2][i]
    local r, key, frees, window, _, deadline = load(jid), rules_of(jid)
    if not (r and r.rules and key) then
      if wrong('left over', jid, 'rules') then redis.call('HDEL', RULES, jid) end
    else
      if is_held(r, frees, window, deadline) and redis.call('HEXISTS', UNIQUE, key) == 0 and wrong('key lost', jid, 'unique') then
        redis.call('HSET', UNIQUE, key, jid)
      end
      if deadline > 0 and r.state < PROCESSED and not redis.call('ZSCORE', DEADLINES, jid) and wrong('deadline lost', jid, 'deadlines') then
        redis.call('ZADD', DEADLINES, deadline, jid)
      end
    end
  end
  checked = #page[2] / 2
  return following(page[1])
end

-- A key is held by a job whose rules name it.
function parts.unique()
  local page = redis.call('HSCAN', UNIQUE, cursor, 'COUNT', limit)
  for i = 1, #page[2], 2 do
    local key, jid = page[2][i], page[2][i + 1]
    local r = load(jid)
    if not (r and r.rules and rules_of(jid) == key) and wrong('key without job', jid, 'unique') then redis.call('HDEL', UNIQUE, key) end
  end
  checked = #page[2] / 2
  return following(page[1])
end

function parts.slots()
  local page = redis.call('ZSCAN', SLOTS, cursor, 'COUNT', limit)
  for i = 1, #page[2], 2 do check_holder(page[2][i]) end
  checked = #page[2] / 2
  return following(page[1])
end

function parts.blocked()
  local page = redis.call('ZSCAN', WAITING, cursor, 'COUNT', limit)
  for i = 1, #page[2], 2 do
    local entry = page[2][i]
    local jid = string.sub(entry, -16)
    local r, its, _, turn = load(jid), limits().slot_of(jid)
    if not (r and r.state == BLOCKED and its and limits().turn_of(its, r.priority, turn, jid) == entry)
        and wrong('index without job', jid, 'blocked') then
      redis.call('ZREM', WAITING, entry)
    end
    check_limit(string.sub(entry, 1, 16))
  end
  checked = #page[2] / 2
  return following(page[1])
end

function parts.limits()
  local page = redis.call('HSCAN', LIMITS, cursor, 'COUNT', limit)
  for i = 1, #page[2], 2 do check_limit(page[2][i]) end
  checked = #page[2] / 2
  return following(page[1])
end

function parts.counters()
  check_counters()
  return ''
end

-- Every key of the namespace must be reached from some other. Python knows which names and types there are.
function parts.keys()
  local pattern = string.gsub(T, '[%[%]%*%?\\]', '\\%0') .. ':*'
  local page = redis.pcall('SCAN', cursor, 'MATCH', pattern, 'COUNT', limit)
  if page.err then
    unchecked = page.err
    return ''
  end
  for _, key in ipairs(page[2]) do
    local name = string.sub(key, #T + 2)
    local worker = string.match(name, '^held:(.*)$')
    local logged = string.match(name, '^log:(.*)$')
    local queue, priority = string.match(string.match(name, '^(lane:.*):front$') or name, '^lane:(.*):(%-?%d+)$')
    if worker and not redis.call('ZSCORE', LEASES, worker) and #held_by(worker, false) == 0 then
      if wrong('key without owner', '', name) then redis.call('DEL', key) end
    elseif logged and not load(logged) then
      if wrong('key without owner', '', 'log:<jid>') then redis.call('UNLINK', key) end
    elseif queue and not redis.call('ZSCORE', lanes_key(queue), priority) then
      recount(queue)
    end
    if redis.call('TTL', key) < 0 and (string.match(name, '^bell:@') or string.match(name, '^watch')) then
      if wrong('no expiry', '', name) then redis.call('EXPIRE', key, 60) end
    end
    tallies[name] = redis.call('TYPE', key).ok
  end
  checked = #page[2]
  return following(page[1])
end

local next_position = parts[part]()
commit()
local reply = {next_position, checked, findings, unchecked}
for name, value in pairs(tallies) do
  reply[#reply + 1] = name
  reply[#reply + 1] = value
end
return reply
