-- Read all scopes of one kind, bucket by bucket: what `history` answers of one queue or name, of all of them.
-- moves:
-- flags: no-writes
-- args: now:int hours:int number:int back:int kind
-- reply: now, then a row for each bucket that is there: its number, then pairs of a series and its packed counts; a minute that is not in its hour yet is a row beside that of its hour
-- uses: record

local name, width = unpack(BUCKETS[hours + 1])
local latest, reply = math.floor(now / width) - back, {now}
local last = hours == 1 and tonumber(redis.call('HGET', T .. ':meta', 'minute') or '')

local function add_row(at, key)
  local row, found = {at}, redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    if found[i] == 'd' or string.sub(found[i], 2, 2) == kind then
      row[#row + 1] = found[i]
      row[#row + 1] = found[i + 1]
    end
  end
  if row[2] then reply[#reply + 1] = row end
end

for at = latest - number + 1, latest do
  add_row(at, T .. name .. at)
  if last and math.floor(last / 60) == at then add_row(at, minute_key(last)) end
end
return reply
