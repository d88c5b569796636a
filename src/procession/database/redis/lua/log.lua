-- Read the log lines of a job behind an index.
-- moves:
-- flags: no-writes
-- args: now:int jid after:int
-- reply: index of the first line that follows, then the lines; nothing for a job that has said nothing
-- uses: record notes

local row = redis.call('HGET', NOTES, jid)
if not row or #row < 22 then return {} end
local key = log_key(jid)
local let_go = math.max(struct.unpack(SAID, row) - redis.call('LLEN', key), 0)
local skipped = math.max(after - let_go, 0)
return {let_go + skipped + 1, unpack(redis.call('LRANGE', key, skipped, -1))}
