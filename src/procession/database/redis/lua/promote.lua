-- Make due jobs ready, the longest due first.
-- moves: promote expire block free
-- flags: allow-oom
-- args: now:int limit:int
-- reply: moved now next_due
-- uses: record held lanes limits finish audit duties

local moved = due_moved(limit)
commit()
return {moved, now, next_due()}
