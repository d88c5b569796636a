-- Read the states of jobs, and note that somebody waits for those that are not final.
-- moves:
-- flags: allow-oom
-- args: now:int waiter *jids
-- reply: state or '' for each
-- uses: record

local reply = {}
for i, jid in ipairs(jids) do
  local r = load(jid)
  reply[i] = r and NAMES[r.state] or ''
  if r and r.state < PROCESSED then
    redis.call('SADD', T .. ':watch:' .. jid, waiter)
    redis.call('EXPIRE', T .. ':watch:' .. jid, 60)
    redis.call('SET', T .. ':watching', '1', 'EX', 60)
  end
end
return reply
