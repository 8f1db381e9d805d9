"""The authority of `accounts`, as the script that Redis or Valkey runs: one batch of one gateway, at one moment.

Every key of a factory has one hash tag, so that a reservation over several accounts is atomic on a cluster too. Changes
here are changes in `accounts`, and the other way round: a test holds both against each other.
"""

from __future__ import annotations

from typing import Final

# KEYS: gateways alive, what this gateway holds, its answers, accounts...
# ARGV: gateway, number of the batch, batch, prefix of what gateways hold, milliseconds that answers are kept.
SCRIPT: Final = r"""
local call, unpack_record, pack_record = redis.call, struct.unpack, struct.pack
local LAYOUT = '<dddddd'
local gateway, number = ARGV[1], tonumber(ARGV[2])
local last = tonumber(call('HGET', KEYS[3], 'last') or '0')
if number <= last then
  return call('HGET', KEYS[3], ARGV[2]) or ''
end
local clock = call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local function read(key)
  local raw = call('GET', key)
  if not raw then
    return {debt = 0, at = 0, held = 0, lent = 0, window = 0, unmet = 0}
  end
  local debt, at, held, lent, window, unmet = unpack_record(LAYOUT, raw)
  return {debt = debt, at = at, held = held, lent = lent, window = window, unmet = unmet}
end

local function write(key, record, keep_ms)
  local raw = pack_record(LAYOUT, record.debt, record.at, record.held, record.lent, record.window, record.unmet)
  call('SET', key, raw, 'PX', string.format('%d', keep_ms))
end

local function holding(key, account)
  local raw = call('HGET', key, account)
  if not raw then return {0, 0} end
  local lent, held = unpack_record('<dd', raw)
  return {lent, held}
end

local HELD_MS = 86400000
for _, other in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%d', now), 'LIMIT', 0, 8)) do
  local held_key = ARGV[4] .. other
  local all = call('HGETALL', held_key)
  for i = 1, #all, 2 do
    local lent, held = unpack_record('<dd', all[i + 1])
    if (lent ~= 0 or held ~= 0) and call('EXISTS', all[i]) == 1 then
      local record = read(all[i])
      record.lent = math.max(0, record.lent - lent)
      record.held = math.max(0, record.held - held)
      write(all[i], record, HELD_MS)
    end
  end
  call('DEL', held_key)
  call('ZREM', KEYS[1], other)
end

local batch = cmsgpack.unpack(ARGV[3])
local lease, definitions, restated, moves, asks, wants =
  batch[1], batch[2], batch[3], batch[4], batch[5], batch[6]
local fresh = call('ZSCORE', KEYS[1], gateway) and 0 or 1
call('ZADD', KEYS[1], string.format('%d', now + lease), gateway)
local alive = call('ZCARD', KEYS[1])

local function window_of(kind)
  local seconds = math.floor(now / 1000000)
  if kind == 1 or kind == 2 then
    local length = kind == 1 and 3600 or 86400
    local n = math.floor(seconds / length)
    return n, (n + 1) * length * 1000000
  end
  -- Days to civil date and back: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
  local z = math.floor(seconds / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local n = year * 12 + month - 1
  local ny, nm = year, month + 1
  if nm == 13 then ny, nm = year + 1, 1 end
  local y = nm <= 2 and ny - 1 or ny
  local e = math.floor(y / 400)
  local yo = y - e * 400
  local dy = math.floor((153 * (nm > 2 and nm - 3 or nm + 9) + 2) / 5)
  local de = yo * 365 + math.floor(yo / 4) - math.floor(yo / 100) + dy
  return n, (e * 146097 + de - 719468) * 86400 * 1000000
end

local records, own = {}, {}
for i = 1, #definitions do
  records[i] = read(KEYS[3 + i])
  own[i] = holding(KEYS[2], KEYS[3 + i])
end

local function left(i)
  local record, definition = records[i], definitions[i]
  if definition[1] == 0 then
    if now > record.at then
      record.debt = math.max(0, record.debt - (now - record.at) * definition[3] / 1000000)
    end
  elseif definition[1] == 1 then
    local n = window_of(definition[4])
    if n ~= record.window then record.window, record.debt = n, 0 end
  else
    record.debt = 0
  end
  record.at = now
  return definition[2] - record.debt - record.held - record.lent
end

local function move(i, lent, held, used)
  local record = records[i]
  own[i][1] = own[i][1] + lent
  own[i][2] = own[i][2] + held
  record.lent = record.lent + lent
  record.held = record.held + held
  record.debt = math.max(0, record.debt + used)
end

local function wait(i, missing)
  local definition = definitions[i]
  if definition[1] == 0 then return math.floor(missing / definition[3] * 1000000) + 1 end
  if definition[1] == 1 then
    local _, ends = window_of(definition[4])
    return ends - now
  end
  return 1000000
end

local function scarce(record)
  return record.unmet > 0 and now - record.unmet < 200000
end

for i = 1, #definitions do left(i) end
for _, one in ipairs(restated) do
  local i = one[1] + 1
  move(i, one[2] - own[i][1], one[3] - own[i][2], 0)
end
for _, one in ipairs(moves) do
  local i = one[1] + 1
  move(i, math.max(one[2], -own[i][1]), math.max(one[3], -own[i][2]), one[4])
end

local verdicts = {}
for n, needs in ipairs(asks) do
  local worst = nil
  for _, need in ipairs(needs) do
    local i = need[1] + 1
    local units = need[2] + need[3]
    local missing = units - left(i)
    if units > definitions[i][2] + 1e-6 then
      worst = {3, need[1], 0}
      break
    end
    if missing > 1e-6 then
      local record = records[i]
      record.unmet = now
      local found = {2, need[1], 0}
      if missing > record.lent + 1e-6 then found = {1, need[1], wait(i, missing - record.lent)} end
      if worst == nil or (found[1] == 1 and (worst[1] ~= 1 or found[3] > worst[3])) then worst = found end
    end
  end
  if worst then
    verdicts[n] = worst
  else
    verdicts[n] = 0
    for _, need in ipairs(needs) do move(need[1] + 1, 0, need[2], need[3]) end
  end
end

local granted = {}
for i = 1, #definitions do granted[i] = 0 end
for _, want in ipairs(wants) do
  local i = want[1] + 1
  local rest = left(i)
  if not scarce(records[i]) and rest * 4 >= definitions[i][2] then
    granted[i] = math.min(want[2], math.floor(rest / (4 * alive)))
    move(i, granted[i], 0, 0)
  end
end

local rests, scarcities = {}, {}
for i = 1, #definitions do
  rests[i] = left(i)
  scarcities[i] = scarce(records[i]) and 1 or 0
  local record, definition, keep = records[i], definitions[i], 60000
  if definition[1] == 0 then
    keep = keep + record.debt / definition[3] * 1000
  elseif definition[1] == 1 then
    local _, ends = window_of(definition[4])
    keep = keep + (ends - now) / 1000
  end
  if record.held > 0 or record.lent > 0 then keep = math.max(keep, HELD_MS) end
  write(KEYS[3 + i], record, math.floor(keep))
  if own[i][1] == 0 and own[i][2] == 0 then
    call('HDEL', KEYS[2], KEYS[3 + i])
  else
    call('HSET', KEYS[2], KEYS[3 + i], pack_record('<dd', own[i][1], own[i][2]))
  end
end

local answer = cmsgpack.pack({fresh, alive, verdicts, rests, granted, scarcities})
call('HSET', KEYS[3], 'last', ARGV[2], ARGV[2], answer)
call('HDEL', KEYS[3], string.format('%d', number - 64))
call('PEXPIRE', KEYS[3], ARGV[5])
return answer
"""
