-- Replace the specs of finished jobs and queue them again, as `retry` does, if they are as they were read.
-- moves: revive block free
-- flags:
-- args: now:int *revisions
-- each: a jid, when it was finished as it was read, its spec, its unique key from now on or '', its limit and how many slots that has, or ''
-- reply: 1 queued again | 0 left as it is, in order
-- uses: record held lanes limits finish unique ruled revive

-- True when the job may run again under this key, or with '' under its own; it has the key then.
local function takes_other_key(jid, r, wanted)
  local key, frees, window = rules_of(jid)
  if wanted == '' or not key or key == wanted or (frees == 0 and window == 0) then return takes_key(jid, r) end
  if holder_of(wanted) then return false end
  if redis.call('HGET', UNIQUE, key) == jid then redis.call('HDEL', UNIQUE, key) end
  redis.call('HSET', RULES, jid, wanted .. string.sub(redis.call('HGET', RULES, jid), 17))
  redis.call('HSET', UNIQUE, wanted, jid)
  return true
end

local reply = {}
for i = 1, #revisions, 5 do
  local jid = revisions[i]
  local r = load(jid)
  local as_read = r and r.state >= PROCESSED and r.finished == tonumber(revisions[i + 1])
  local changed = as_read and takes_other_key(jid, r, revisions[i + 3])
  if changed then
    if r.apart then redis.call('HDEL', SPECS, jid) end
    put_spec(jid, r, revisions[i + 2])
    if revisions[i + 4] ~= '' and r.rules then come_under(jid, r, revisions[i + 4]) end
    revive(jid, r)
  end
  reply[#reply + 1] = changed and 1 or 0
end
commit()
return reply
