-- The trail: a list of deeds, the oldest first. Each is its number (6 bytes; one more than the one before), when (6), and JSON.

local TRAIL, DEED = T .. ':trail', '>I6I6'

local function number_of(deed)
  local number = struct.unpack(DEED, deed)
  return number
end

local function moment_of(deed)
  local _, at = struct.unpack(DEED, deed)
  return at
end
