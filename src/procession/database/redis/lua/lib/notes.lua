-- What a job has said: one row in the hash `notes`, the lines in a list of its own. Lines are appended and the oldest let go, so
-- that a line keeps its index: the last one has the number of lines that were ever kept.
--
--    lines ever (4), bytes there (4), number of the last note (4), progress at (6), begin of its claim token (4), progress

local SAID, MOST_LINES, MOST_BYTES = '>I4I4I4I6c4', 2000, 262144

local function said_of_job(jid)
  local row = redis.call('HGET', NOTES, jid)
  if not row or #row < 22 then return {lines = 0, bytes = 0, number = 0, at = 0, token = '    ', progress = ''} end
  local lines, bytes, number, at, token, rest = struct.unpack(SAID, row)
  return {lines = lines, bytes = bytes, number = number, at = at, token = token, progress = string.sub(row, rest)}
end

local function append(jid, said, fresh)
  local key = log_key(jid)
  each_chunk(fresh, 4000, function(...) redis.call('RPUSH', key, ...) end)
  said.lines = said.lines + #fresh
  for _, line in ipairs(fresh) do said.bytes = said.bytes + #line end
  local over = redis.call('LLEN', key) - MOST_LINES
  while over > 0 or said.bytes > MOST_BYTES do
    said.bytes, over = said.bytes - #(redis.call('LPOP', key) or ''), over - 1
    if redis.call('EXISTS', key) == 0 then said.bytes = 0 end
  end
  redis.call('HSET', NOTES, jid, struct.pack(SAID, said.lines, said.bytes, said.number, said.at, said.token) .. said.progress)
end
