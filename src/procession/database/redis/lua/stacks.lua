-- The last stack of each queue worker.
-- moves:
-- flags: no-writes
-- args: now:int *workers
-- reply: for each: when, the order's id, the text; '' for none
-- uses: record orders

local reply = {}
for i, worker in ipairs(workers) do reply[i] = redis.call('HGET', orders_key(worker), 'answer') or '' end
return reply
