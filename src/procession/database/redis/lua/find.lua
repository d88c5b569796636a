-- Read jobs by id, in the order asked.
-- moves:
-- flags: no-writes
-- args: now:int *jids
-- reply: rows, with `false` for the record of a job that is not there
-- uses: record rows

for i, raw in ipairs(values(JOBS, jids)) do add_row(jids[i], raw and is_sound(raw) and raw, '') end
return filled()
