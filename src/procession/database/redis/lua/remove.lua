-- Forget jobs altogether. A running job is left as it is.
-- moves: remove free
-- flags: allow-oom
-- args: now:int *jids
-- reply: the state each was found in, '' for none
-- uses: record held lanes limits finish

local reply = {}
for i, jid in ipairs(jids) do
  local r = load(jid)
  reply[i] = r and NAMES[r.state] or ''
  if r and r.state ~= RUNNING then
    forget(jid, r)
  end
end
commit()
return reply
