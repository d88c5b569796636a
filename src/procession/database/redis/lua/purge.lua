-- Remove queued jobs of one queue.
-- moves: remove
-- flags: allow-oom
-- args: now:int queue limit:int
-- reply: how many were removed
-- uses: record held lanes finish

local removed = 0
pop_live(queue, limit, function(jid, raw)
  drop(jid, unpacked(raw) or {})
  ring_watchers(jid)
  removed = removed + 1
  return true
end)
commit()
return removed
