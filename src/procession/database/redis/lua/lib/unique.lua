-- Unique keys. `unique` names the job that has a key, `rules` what each such job was asked; both go with the job's record. Whether
-- the key is held is read off that record and its rules, so no move has to free it and nothing is held by a job that is gone.
--
-- asked: key (16), what frees it, whether it replaces, window (8), at most (8), deadline (8)            as `rules.py` packs it
-- rules: key (16), what frees it, end of the window (6), last due time (6), deadline (6)                instants, 0 for none
-- In both, what `limits.lua` says of a job under a limit follows: 20 bytes, and 26.

local ASKED, RULE, LIMITED = '>c16BBI8I8I8', '>c16BI6I6I6', 26
local START, PROCESS, FINAL_STATE = 1, 2, 3

-- What a job comes to that waits beyond its expiry or its deadline, before anybody has looked at it: no run of it is to follow.
local function state_by_now(r, deadline)
  if r.state >= RUNNING then return r.state end
  if r.expires > 0 and r.expires <= now and r.attempt == 0 then return CANCELLED end
  return deadline > 0 and deadline <= now and FAILED or r.state
end

local function is_held(r, frees, window, deadline)
  if now < window then return true end
  local state = state_by_now(r, deadline)
  if frees == START then return r.started == 0 and state < PROCESSED end
  if frees == PROCESS then return state < PROCESSED or state == FAILED end
  return frees == FINAL_STATE and state < PROCESSED
end

-- The rules of a job: key, what frees it, end of the window, last due time, deadline. Nothing where they are lost or damaged: the
-- job is one without rules then.
local function rules_of(jid)
  local rules = redis.call('HGET', RULES, jid)
  if rules and (#rules == struct.size(RULE) or #rules == struct.size(RULE) + LIMITED) then return struct.unpack(RULE, rules) end
end

-- The job that holds a key now, its record, and until when its due time may be pushed; nil when the key is free.
local function holder_of(key)
  local jid = redis.call('HGET', UNIQUE, key)
  local r = jid and load(jid)
  if not r then return nil end
  local its, frees, window, latest, deadline = rules_of(jid)
  if its ~= key or not is_held(r, frees, window, deadline) then return nil end
  return jid, r, latest
end

-- True when the job may wait or run again: no other holds its key. It has the key then.
local function takes_key(jid, r)
  if not r.rules then return true end
  local key, frees, window = rules_of(jid)
  if not key or (frees == 0 and window == 0) then return true end
  local other = holder_of(key)
  if other and other ~= jid then return false end
  redis.call('HSET', UNIQUE, key, jid)
  return true
end

-- A job that somebody retries has all the time it needs.
local function lift_deadline(jid)
  local key, frees, window, latest, deadline = rules_of(jid)
  if (deadline or 0) == 0 then return end
  local limit = string.sub(redis.call('HGET', RULES, jid), struct.size(RULE) + 1)
  redis.call('HSET', RULES, jid, struct.pack(RULE, key, frees, window, latest, 0) .. limit)
end

-- When a job is to be over, as an instant; 0 for never.
local function deadline_of(jid)
  local _, _, _, _, deadline = rules_of(jid)
  return deadline or 0
end
