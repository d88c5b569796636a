-- A finished job that has its key starts anew: into its lane, attempts and crashes counted from nothing, its result and its
-- deadline dropped. It is blocked where its limit has no slot free.

local function revive(jid, r)
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
