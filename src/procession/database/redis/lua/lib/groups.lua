-- Groups of errors: a JSON document each, and a sorted set that says which was seen last.

local GROUPS, SEEN = T .. ':groups', T .. ':groups:seen'
local UNSEEN, MOST, NAMES_KEPT, SAMPLES_KEPT, MINUTES_KEPT = 14 * 86400000, 500, 10, 20, 60

-- The newest `most` values of `old` and then `new`, each once; it counts when it came last.
local function newest(old, new, most)
  local all, met, kept = {}, {}, {}
  for _, values in ipairs({old, new}) do
    for _, value in ipairs(values) do all[#all + 1] = value end
  end
  for i = #all, 1, -1 do
    if #kept < most and not met[all[i]] then
      met[all[i]] = true
      table.insert(kept, 1, all[i])
    end
  end
  return kept
end

local function seen(fingerprint, it)
  local known = redis.call('HGET', GROUPS, fingerprint)
  local group = known and cjson.decode(known) or {
    type = it.type, message = it.message, where = it.where, count = 0, first_at = now, muted_until = 0,
    names = {}, samples = {}, minutes = {},
  }
  group.count, group.last_at = group.count + it.count, now
  group.names, group.samples = newest(group.names, it.names, NAMES_KEPT), newest(group.samples, it.samples, SAMPLES_KEPT)
  local workers = newest(group.workers or {}, it.workers or {}, NAMES_KEPT)
  if #workers > 0 then group.workers = workers end  -- an empty table would be written as an object
  local minute, last = math.floor(now / 60000), group.minutes[#group.minutes]
  if last and last[1] == minute then
    last[2] = last[2] + it.count
  else
    table.insert(group.minutes, {minute, it.count})
    if #group.minutes > MINUTES_KEPT then table.remove(group.minutes, 1) end
  end
  redis.call('HSET', GROUPS, fingerprint, cjson.encode(group))
  redis.call('ZADD', SEEN, now, fingerprint)
  for _, key in ipairs({GROUPS, SEEN}) do redis.call('EXPIRE', key, UNSEEN / 1000) end
end

-- Forget the groups that were not seen for long, and the oldest of too many.
local function shed_groups()
  local old = redis.call('ZRANGEBYSCORE', SEEN, '-inf', now - UNSEEN, 'LIMIT', 0, 100)
  local over = redis.call('ZCARD', SEEN) - #old - MOST
  if over > 0 then old = redis.call('ZRANGE', SEEN, 0, #old + over - 1) end
  if #old == 0 then return end
  redis.call('ZREM', SEEN, unpack(old))
  redis.call('HDEL', GROUPS, unpack(old))
end
