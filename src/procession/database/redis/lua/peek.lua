-- The jobs that are claimed next, in order; from the rear, those that are claimed last, the last one first.
-- moves:
-- flags: no-writes
-- args: now:int queue limit:int rear:int
-- reply: rows
-- uses: record lanes rows

if limit > 0 then
  look_through(queue, rear == 1, math.min(limit, 100), function(jid, raw)
    add_job(jid, raw, '')
    return #rows[1] == limit
  end)
end
return filled()
