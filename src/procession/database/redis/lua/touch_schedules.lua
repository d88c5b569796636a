-- Say that schedules still stand in code. What rested goes on where it was.
-- moves:
-- flags: allow-oom
-- args: now:int *names
-- reply: 1 the store knows that schedules stand in code | 0 it has come back empty since they were stored
-- uses: record schedules

for _, name in ipairs(names) do
  if is_put_off(name) then stand(name, standing(name), true) end
  redis.call('ZADD', DECLARED, 'XX', now, name)
end
return redis.call('HEXISTS', META, 'declared')
