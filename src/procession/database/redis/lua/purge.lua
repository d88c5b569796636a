-- Remove queued jobs of one queue.
-- moves: remove
-- flags: allow-oom
-- args: now:int queue limit:int
-- reply: how many were removed
-- uses: record lanes finish

local removed = pop_live(queue, limit, function(jid)
  forget(jid)
  return true
end)
write_depths()
write_counts()
return removed
