-- Add what a queue worker measured: counts and histograms of what it ran, and the errors it met.
-- moves:
-- flags: allow-oom
-- args: now:int series:int *rows
-- each: first as many pairs as `series` says, a series and its packed counts; then pairs of a fingerprint and what was seen of it, as JSON
-- reply: none
-- uses: record groups

for i = 1, 2 * series, 2 do
  local counts = rows[i + 1]
  for at = 1, #counts, SLOT_BYTES do tally(rows[i], struct.unpack(SLOT, counts, at)) end
end
commit()
for i = 2 * series + 1, #rows, 2 do seen(rows[i], cjson.decode(rows[i + 1])) end
shed_groups()
return 0
