-- Remove queued jobs of one queue.
-- moves: remove free
-- flags: allow-oom
-- args: now:int queue limit:int
-- reply: how many were removed
-- uses: record held lanes limits finish

local removed = 0
pop_live(queue, limit, function(jid, raw)
  local r = unpacked(raw) or {}
  if r.rules then limits().give_back(jid, r) end
  drop(jid, r)
  ring_watchers(jid)
  removed = removed + 1
  return true
end)
commit()
return removed
