-- What a reader gets of jobs: id, record, where each stands, and what lies apart. A reader looks at many, so records are compared as
-- bytes and not taken apart, each kind of thing is read with one command for all, and the answer has a list for each kind and not
-- one for each job; the list of what no job has is empty.

local rows = {{}, {}, {}, {}, {}, {}, {}, {}}  -- jids, records, positions, specs, errors, results, notes, workers

-- Where the texts of a record's history begin, nil for one without.
local function texts_at(raw)
  local state, flags, length = string.byte(raw, 2), string.byte(raw, 8), string.byte(raw, 10)
  return flags % 4 >= 2 and 11 + length + (state == RUNNING and 10 or 16) or nil
end

-- True when a record is whole as far as its spec, as `record.lua` lays it out. One that is damaged is shown to nobody.
local function is_sound(raw)
  local byte, version, state = string.byte, string.byte(raw, 1, 2)
  if version ~= VERSION or not NAMES[state] or not byte(raw, 10) then return false end
  local at = texts_at(raw)
  if at then
    for _ = 1, 2 do
      local text = byte(raw, at)
      if not text then return false end
      at = at + 1 + text
    end
  end
  at = (at or 11 + byte(raw, 10)) + 6
  if byte(raw, 8) % 2 == 1 then at = at + 12 end
  return #raw >= at - 1
end

-- A record that is not there is `false`.
local function add_row(jid, raw, position)
  local n = #rows[1] + 1
  rows[1][n], rows[2][n], rows[3][n] = jid, raw, position
end

local shown = {}
local function add_job(jid, raw, position)
  if raw and not shown[jid] and is_sound(raw) then
    shown[jid] = true
    add_row(jid, raw, position)
  end
end

local function fill(column, key, flag)
  local jids, whose, found, n = {}, {}, {}, 0
  for i, raw in ipairs(rows[2]) do
    found[i] = false
    if raw and string.byte(raw, 8) % (2 * flag) >= flag then
      n = n + 1
      jids[n], whose[n] = rows[1][i], i
    end
  end
  if n == 0 then return end
  for i, value in ipairs(values(key, jids)) do found[whose[i]] = value end
  rows[column] = found
end

local function fill_workers()
  local found = {}
  for i, raw in ipairs(rows[2]) do
    local at = raw and texts_at(raw)
    found[i] = at and name_of(struct.unpack('>I4', raw, at - 4)) or false
  end
  rows[8] = found
end

-- The rows, with what lies apart of their jobs.
local function filled()
  fill(4, SPECS, APART)
  fill(5, ERRORS, HAS_ERRORS)
  fill(6, RESULTS, HAS_RESULT)
  fill(7, NOTES, HAS_NOTES)
  fill_workers()
  return rows
end
