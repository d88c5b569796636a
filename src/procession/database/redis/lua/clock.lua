-- Read the server's clock.
-- moves:
-- flags: no-writes
-- args: now:int
-- reply: milliseconds since the epoch
-- uses: record

return now
