-- Make due jobs ready, the longest due first, and fail what waits beyond its deadline.
-- moves: promote expire miss block free
-- flags: allow-oom
-- args: now:int limit:int
-- reply: moved now next_due
-- uses: record held lanes limits finish audit duties deadlines

deadlines_missed(limit)
local moved = due_moved(limit)
commit()
return {moved, now, next_due()}
