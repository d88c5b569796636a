-- What a reader gets of a job: its id, its record, and what lies apart from it.

local function add_row(reply, jid, position)
  local raw = redis.call('HGET', JOBS, jid)
  local r = raw and unpacked(raw)
  if not r then return false end
  reply[#reply + 1] = {
    jid, raw, r.apart and redis.call('HGET', SPECS, jid), r.errors and redis.call('HGET', ERRORS, jid),
    r.result and redis.call('HGET', RESULTS, jid), position, r.notes and redis.call('HGET', NOTES, jid),
  }
  return true
end
