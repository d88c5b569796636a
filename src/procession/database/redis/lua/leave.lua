-- Forget a worker; take back at once what it still holds.
-- moves: recover poison discard free
-- flags: allow-oom
-- args: now:int worker max_crashes:int how crash
-- reply: the jids taken back
-- uses: record held lanes limits finish

local taken = {}
take_back_all(worker, 100000, max_crashes, how ~= '' and how or 'worker left', crash, taken)
commit()
return taken
