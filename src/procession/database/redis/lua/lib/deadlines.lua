-- Deadlines of whole jobs. `deadlines` names each job that has one and is not finished, so the one that still waits by then is found
-- without a scan. A run is ended by its worker; a job that is claimed before anybody looked here is failed by whoever claims it.

local LOOKED_AGAIN = 10000

-- Fail up to `limit` jobs that wait beyond their deadlines. One that has expired, too, is cancelled: it may have lost its unique key by that.
local function deadlines_missed(limit)
  local late = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now, 'LIMIT', 0, limit)
  load_all(late)
  for _, jid in ipairs(late) do
    local r = load(jid)
    if r and r.state < RUNNING and r.expires > 0 and r.expires <= now and r.attempt == 0 then
      leave_state(jid, r)
      finish(jid, r, CANCELLED, 'expired')
    elseif r and r.state < RUNNING then
      local message = 'the deadline of this job passed while it waited'
      add_error(jid, r, cjson.encode({attempt = r.attempt, type = 'JobTimeout', message = message, at = now}))
      leave_state(jid, r)
      finish(jid, r, FAILED, 'deadline')
    elseif r and r.state < PROCESSED then  -- it runs; should it be given back, it is found here again
      redis.call('ZADD', DEADLINES, now + LOOKED_AGAIN, jid)
    else
      redis.call('ZREM', DEADLINES, jid)
    end
  end
end
