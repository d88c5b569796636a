-- Remove every key of the namespace. Lists its own keys, so that no other namespace can be meant.
-- moves: remove
-- flags: allow-oom
-- args: now:int
-- reply: none
-- uses: record lanes

local depth = redis.call('HKEYS', T .. ':depth')
for _, queue in ipairs(depth) do
  for _, priority in ipairs(priorities(queue)) do
    local lane = lane_key(queue, priority)
    redis.call('UNLINK', lane, front_key(lane))
  end
  redis.call('UNLINK', lanes_key(queue), T .. ':bell:' .. queue, T .. ':deaths:' .. queue)
end
for _, worker in ipairs(redis.call('ZRANGE', T .. ':leases', 0, -1)) do
  redis.call('UNLINK', T .. ':held:' .. worker, T .. ':bell:@' .. worker, T .. ':orders:' .. worker)
end
for _, jid in ipairs(redis.call('HKEYS', T .. ':notes')) do redis.call('UNLINK', log_key(jid)) end
local last = redis.call('HGET', T .. ':meta', 'minute')
if last then redis.call('UNLINK', minute_key(last)) end
for _, name in ipairs({
  'jobs', 'specs', 'errors', 'results', 'due', 'depth', 'paused', 'leases', 'workers', 'tokens', 'names', 'left', 'counters',
  'processed', 'failed', 'cancelled', 'processed:front', 'failed:front', 'cancelled:front', 'watching', 'meta', 'doubts',
  'notes', 'unique', 'rules', 'deadlines', 'slots', 'blocked', 'limits', 'schedules', 'schedules:state', 'schedules:due',
  'schedules:declared', 'groups', 'groups:seen', 'trail',
}) do
  redis.call('UNLINK', T .. ':' .. name)
end
for _, it in ipairs(BUCKETS) do
  local latest = math.floor(now / it[2])
  for at = latest - it[3] * 1000 / it[2], latest + 1 do redis.call('UNLINK', T .. it[1] .. at) end
end
return 0
