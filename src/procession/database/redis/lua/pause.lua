-- Let nothing more be claimed from these queues.
-- moves:
-- flags: allow-oom
-- args: now:int reason *queues
-- reply: none
-- uses: record

for _, queue in ipairs(queues) do
  redis.call('HSETNX', T .. ':depth', queue, 0)
  redis.call('HSET', T .. ':paused', queue, now .. ' ' .. reason)
end
return 0
