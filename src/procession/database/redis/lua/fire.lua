-- Insert the runs of schedules and move their next instant on, if they are as they were when looked at.
-- moves: enqueue delay cancel block free
-- flags:
-- args: now:int bound:int *firings
-- each: name, asked, expected, next_at, overlap, missed at, missed note, how many runs; of each: at, jid, note, jid (16), queue, priority, due, expires_in, spec, rules or nothing
-- reply: fired | busy | lost, in order
-- uses: record held lanes limits finish unique ruled schedules

local HEADS, WIDTH = 8, 10
local ended = 0

local function insert(jid, queue, priority, due, expires_in, spec, rules)
  if load(jid) then return false end
  happened('enqueued', queue, 1)
  redis.call('HSETNX', T .. ':depth', queue, 0)
  if rules ~= '' then
    enqueue_ruled(jid, spec, queue, priority, due > now and due or 0, expires_in > 0 and now + expires_in or 0, rules)
    return true
  end
  local r = {
    state = DELAYED, priority = priority, attempt = 0, crashes = 0, place = 0, enqueued = now, queue = queue, due = 0, expires = 0,
    started = 0, finished = 0, worker = '', token = '', reason = '', spec = spec,
  }
  if expires_in > 0 then r.expires = now + expires_in end
  if #spec > LONG_SPEC then
    redis.call('HSET', SPECS, jid, spec)
    r.spec, r.apart = '', true
  end
  if due > now then
    r.due = due
    if due < tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or math.huge) then ring(queue) end
    redis.call('ZADD', DUE, due, jid)
    save(jid, r)
  else
    to_lane(jid, r)
  end
  return true
end

local function insert_at(i)
  return insert(firings[i + 3], firings[i + 4], tonumber(firings[i + 5]), tonumber(firings[i + 6]), tonumber(firings[i + 7]), firings[i + 8], firings[i + 9])
end

-- The runs of a schedule that are not finished, each once, but for those that are to be inserted: an instant that was filled in by
-- hand before it was due has its run already. And those of all that are not finished, as written in the history.
local function unfinished(s, first, number)
  local found, met, written = {}, {}, {}
  for i = first, first + (number - 1) * WIDTH, WIDTH do met[firings[i + 3]] = true end
  for _, run in ipairs(s.runs) do
    local jid = string.gsub(string.gsub(run[2] or '', '-', ''), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
    local r = #jid == 16 and load(jid)
    if r and r.state <= RUNNING then
      written[run[2]] = true
      if not met[jid] then found[#found + 1], met[jid] = jid, true end
    end
  end
  return found, written
end

local function cancel(jid)
  local r = load(jid)
  if r.state == RUNNING then
    r.cancel, r.reason = true, 'the next run is due'
    save(jid, r)
    ring('@' .. r.worker)
  else
    leave_state(jid, r)
    finish(jid, r, CANCELLED, 'the next run is due')
    ended = ended + 1
  end
end

local function by_hand(name, s, first, number)
  local _, written = unfinished(s, first, number)
  for i = first, first + (number - 1) * WIDTH, WIDTH do
    if insert_at(i) then s.runs[#s.runs + 1] = {tonumber(firings[i]), firings[i + 1], firings[i + 2]} end
  end
  stand(name, s, false, written)
  return 'fired'
end

local function fire(at, number)
  local name, asked, expected, next_at, overlap = firings[at], firings[at + 1], tonumber(firings[at + 2]), tonumber(firings[at + 3]), firings[at + 4]
  if redis.call('HGET', ASKED, name) ~= asked then return 'lost' end
  local s = standing(name)
  if expected == 0 then return by_hand(name, s, at + HEADS, number) end
  if s.next_at ~= expected or s.paused_at then return 'lost' end
  local active, written = {}, {}
  if overlap ~= 'allow' then active, written = unfinished(s, at + HEADS, number) end
  if number == 0 then active = {} end
  if #active > 0 and overlap == 'queue_one' then
    s.waiting = true
    stand(name, s, false)
    put_off(name, AGAIN)
    return 'busy'
  end
  if overlap == 'cancel_previous' then
    for _, jid in ipairs(active) do cancel(jid) end
  end
  if firings[at + 5] ~= '0' then s.runs[#s.runs + 1] = {tonumber(firings[at + 5]), '', firings[at + 6]} end
  for i = at + HEADS, at + HEADS + (number - 1) * WIDTH, WIDTH do
    local slot = tonumber(firings[i])
    if slot > (s.last_at or 0) then
      s.last_at = slot
      if #active > 0 and overlap == 'skip' then
        s.runs[#s.runs + 1] = {slot, '', 'skipped'}
      else
        insert_at(i)
        s.runs[#s.runs + 1] = {slot, firings[i + 1], firings[i + 2]}
      end
    end
  end
  s.next_at, s.waiting = next_at, nil
  stand(name, s, true, written)
  return 'fired'
end

local reply, at = {}, 1
while firings[at] do
  local number = tonumber(firings[at + 7])
  reply[#reply + 1] = fire(at, number)
  at = at + HEADS + number * WIDTH
end
commit()
if ended > 0 then
  trim(CANCELLED, bound, 2 * ended + 10)
  commit()
end
return reply
