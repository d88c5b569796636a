-- Undo a pause, and ring the bells.
-- moves:
-- flags: allow-oom
-- args: now:int *queues
-- reply: none
-- uses: record

for _, queue in ipairs(queues) do
  if redis.call('HDEL', T .. ':paused', queue) == 1 then ring(queue) end
end
commit()
return 0
