-- Note that a queue worker has done what an order asked for, and keep the stack that it answers.
-- moves:
-- flags: allow-oom
-- args: now:int worker id answer kept:int
-- reply: 1 it waited | 0 it did not wait any more
-- uses: record orders

if not is_known(worker) then return 0 end
local key, waited = orders_key(worker), 0
for _, kind in ipairs({'course', 'stack'}) do
  local order = redis.call('HGET', key, kind)
  if order and string.match(order, '^%d+ (%S+)') == id then
    redis.call('HDEL', key, kind)
    waited = 1
  end
end
if answer ~= '' then
  redis.call('HSET', key, 'answer', now .. ' ' .. answer)
  redis.call('PEXPIRE', key, kept)
  ring('@' .. id)
  commit()
end
return waited
