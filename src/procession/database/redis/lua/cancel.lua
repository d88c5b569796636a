-- Cancel waiting jobs at once; mark running ones and ring their workers.
-- moves: cancel free
-- flags: allow-oom
-- args: now:int reason bound:int *jids
-- reply: the state each was found in, '' for none
-- uses: record held lanes limits finish

local reply, ended = {}, 0
for i, jid in ipairs(jids) do
  local r = load(jid)
  reply[i] = r and NAMES[r.state] or ''
  if r and r.state == RUNNING then
    r.cancel, r.reason = true, string.sub(reason, 1, 200)
    save(jid, r)
    ring('@' .. r.worker)
  elseif r and r.state < RUNNING then
    leave_state(jid, r)
    finish(jid, r, CANCELLED, reason)
    ended = ended + 1
  end
end
commit()
trim(CANCELLED, bound, 2 * ended + 10)
commit()
return reply
