-- Write down what people did; let go what is over its bounds.
-- moves:
-- flags: allow-oom
-- args: now:int bound:int kept:int *deeds
-- reply: none
-- uses: record trail

local last = redis.call('LINDEX', TRAIL, -1)
local number = last and number_of(last) or 0
for _, deed in ipairs(deeds) do
  number = number + 1
  redis.call('RPUSH', TRAIL, struct.pack(DEED, number, now) .. deed)
end
redis.call('LTRIM', TRAIL, -bound, -1)
for _ = 1, 100 do
  local first = redis.call('LINDEX', TRAIL, 0)
  if not first or moment_of(first) > now - kept then break end
  redis.call('LPOP', TRAIL)
end
redis.call('PEXPIRE', TRAIL, kept)
return 0
