-- What waits to be heard by queue workers.
-- moves:
-- flags: no-writes
-- args: now:int *workers
-- reply: for each the orders, as they were left
-- uses: record orders

local reply = {}
for i, worker in ipairs(workers) do reply[i] = orders_of(worker) end
return reply
