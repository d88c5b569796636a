-- What waits to be heard by a queue worker: per worker a hash with `course` and `stack` (when, the id, JSON) and `answer` (when,
-- the id, text). It goes away with its worker.

local function orders_key(worker)
  return T .. ':orders:' .. worker
end

local function orders_of(worker)
  local found = {}
  for _, order in ipairs(redis.call('HMGET', orders_key(worker), 'course', 'stack')) do
    if order then found[#found + 1] = order end
  end
  return found
end

local function is_known(worker)
  return redis.call('ZSCORE', T .. ':leases', worker)
end
