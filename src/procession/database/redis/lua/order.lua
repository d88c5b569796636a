-- Leave an order for queue workers, and ring them.
-- moves:
-- flags: allow-oom
-- args: now:int kind id order kept:int *workers
-- reply: 1 left | 0 there is no such worker, in order
-- uses: record orders

local reply = {}
for i, worker in ipairs(workers) do
  reply[i] = 0
  if is_known(worker) then
    redis.call('HSET', orders_key(worker), kind, now .. ' ' .. id .. ' ' .. order)
    redis.call('PEXPIRE', orders_key(worker), kept)
    ring('@' .. worker)
    reply[i] = 1
  end
end
commit()
return reply
