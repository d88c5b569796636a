-- Remove queued jobs of one queue. It goes on past tombstones until it meets a job, for who asks takes 0 for the end; what it passes
-- is cleared, a microsecond each.
-- moves: remove free
-- flags: allow-oom
-- args: now:int queue limit:int
-- reply: how many were removed
-- uses: record held lanes limits finish

local removed = 0
local function take(jid, raw)
  local r = unpacked(raw) or {}
  if r.rules then limits().give_back(jid, r) end
  drop(jid, r)
  ring_watchers(jid)
  removed = removed + 1
  return true
end
while limit > 0 and removed == 0 and redis.call('EXISTS', lanes_key(queue)) == 1 do pop_live(queue, limit, take) end
commit()
return removed
