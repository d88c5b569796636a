-- Take back the jobs of workers whose lease ended.
-- moves: recover poison discard free
-- flags: allow-oom
-- args: now:int limit:int lease:int max_crashes:int
-- reply: the jids taken back
-- uses: record held lanes limits finish audit duties

local taken = dead_recovered(limit, lease, max_crashes)
commit()
return taken
