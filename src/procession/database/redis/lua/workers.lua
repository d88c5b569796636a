-- Every queue worker that has a lease, or whose jobs were not taken back yet.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: rows of id lease_until info held
-- uses: record held

local reply, leases = {}, redis.call('ZRANGE', T .. ':leases', 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local info = redis.call('HGET', T .. ':workers', leases[i])
  reply[#reply + 1] = {leases[i], leases[i + 1], info, held_count(leases[i])}
end
return reply
