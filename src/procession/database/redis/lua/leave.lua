-- Forget a worker; take back at once what it still holds.
-- moves: recover poison discard
-- flags: allow-oom
-- args: now:int worker died max_crashes:int
-- reply: the jids taken back
-- uses: record lanes finish

local taken = {}
take_back_all(worker, 100000, max_crashes, died ~= '' and died or 'worker left', taken)
write_depths()
write_counts()
return taken
