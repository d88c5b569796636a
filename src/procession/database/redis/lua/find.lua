-- Read jobs by id, in the order asked.
-- moves:
-- flags: no-writes
-- args: now:int *jids
-- reply: rows of jid state spec errors result '' notes, or false
-- uses: record rows

local reply = {}
for i, jid in ipairs(jids) do
  if not add_row(reply, jid, '') then reply[i] = false end
end
return reply
