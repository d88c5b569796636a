-- Cancel waiting jobs at once; mark running ones and ring their workers.
-- moves: cancel
-- flags: allow-oom
-- args: now:int reason bound:int *jids
-- reply: the state each was found in, '' for none
-- uses: record lanes finish

local reply, ended = {}, 0
for i, jid in ipairs(jids) do
  local r = load(jid)
  reply[i] = r and NAMES[r.state] or ''
  if r and r.state == RUNNING then
    r.cancel, r.reason = 1, string.sub(reason, 1, 200)
    save(jid, r)
    ring('@' .. r.worker)
  elseif r and r.state < RUNNING then
    if r.state == QUEUED then deepen(r.queue, -1) end
    redis.call('ZREM', DUE, jid)
    finish(jid, r, CANCELLED, reason)
    ended = ended + 1
  end
end
trim(CANCELLED, bound, 2 * ended + 10)
write_depths()
write_counts()
return reply
