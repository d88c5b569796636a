-- Keep what running attempts say of themselves: progress, log lines. Only the current claim counts.
-- moves:
-- flags: allow-oom
-- args: now:int *notes
-- each: jid, claim token, number of the note within the attempt, progress as JSON or '', how many lines, then the lines
-- reply: 1 accepted | 0 refused, in order; a note that was taken before is accepted and changes nothing
-- uses: record notes

local reply, at = {}, 1
while notes[at] do
  local jid, token, number, progress, lines = notes[at], notes[at + 1], tonumber(notes[at + 2]), notes[at + 3], tonumber(notes[at + 4])
  local r = load(jid)
  local current = r and r.state == RUNNING and r.token == token
  if current then
    local said, fresh = said_of_job(jid), {}
    if said.token ~= string.sub(token, 1, 4) or number > said.number then
      for i = 1, lines do fresh[i] = notes[at + 4 + i] end
      said.token, said.number = string.sub(token, 1, 4), number
      if progress ~= '' then said.progress, said.at = progress, now end
      append(jid, said, fresh)
      if not r.notes then
        r.notes = true
        save(jid, r)
      end
    end
  end
  reply[#reply + 1] = current and 1 or 0
  at = at + 5 + lines
end
commit()
return reply
