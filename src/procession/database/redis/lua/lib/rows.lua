-- What a reader gets of a job: its id and the five places that may hold something of it.

local function add_row(reply, jid, position)
  local state = redis.call('HGET', STATES, jid)
  if not state then return false end
  reply[#reply + 1] = {
    jid, state, redis.call('HGET', SPECS, jid), redis.call('HGET', ERRORS, jid), redis.call('HGET', RESULTS, jid), position,
  }
  return true
end
