-- Queue finished jobs again, with attempts and crashes counted anew. One whose unique key another job holds is left as it is.
-- moves: revive block free
-- flags:
-- args: now:int *jids
-- reply: the state each was found in, '' for none, 'blocked' where another job holds its unique key
-- uses: record held lanes limits finish unique revive

local reply = {}
for i, jid in ipairs(jids) do
  local r = load(jid)
  reply[i] = r and NAMES[r.state] or ''
  if r and r.state >= PROCESSED and not takes_key(jid, r) then
    reply[i] = NAMES[BLOCKED]
  elseif r and r.state >= PROCESSED then
    revive(jid, r)
  end
end
commit()
return reply
