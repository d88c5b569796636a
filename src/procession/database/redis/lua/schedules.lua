-- Schedules as they are now.
-- moves:
-- flags: no-writes
-- args: now:int all:int *names
-- reply: now 0, then rows of name asked state declared_at
-- uses: record schedules

local reply = {now, 0}
if all == 1 then
  names = redis.call('HKEYS', ASKED)
  table.sort(names)
end
for _, name in ipairs(names) do reply[#reply + 1] = schedule_row(name) or nil end
return reply
