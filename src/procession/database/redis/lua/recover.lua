-- Take back the jobs of workers whose lease ended.
-- moves: recover poison discard
-- flags: allow-oom
-- args: now:int limit:int lease:int max_crashes:int
-- reply: the jids taken back
-- uses: record held lanes finish audit duties

local taken = dead_recovered(limit, lease, max_crashes)
commit()
return taken
