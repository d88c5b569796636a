-- Queue finished jobs again, with attempts and crashes counted anew. One whose unique key another job holds is left as it is.
-- moves: revive block free
-- flags:
-- args: now:int *jids
-- reply: the state each was found in, '' for none, 'blocked' where another job holds its unique key
-- uses: record held lanes limits finish unique

local reply = {}
for i, jid in ipairs(jids) do
  local r = load(jid)
  reply[i] = r and NAMES[r.state] or ''
  if r and r.state >= PROCESSED and not takes_key(jid, r) then
    reply[i] = NAMES[BLOCKED]
  elseif r and r.state >= PROCESSED then
    leave_state(jid, r)
    if r.result then redis.call('HDEL', RESULTS, jid) end
    r.attempt, r.crashes, r.cancel, r.started, r.finished, r.expires, r.due = 0, 0, false, 0, 0, 0, now
    r.result = false
    r.worker, r.token, r.reason = '', '', ''
    if r.rules then
      lift_deadline(jid)
      limits().admit(jid, r)
    else
      to_lane(jid, r)
    end
  end
end
commit()
return reply
