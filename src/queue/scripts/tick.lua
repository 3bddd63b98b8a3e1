-- Brings packages back whose time has come, the longest due first in line, and tells what else a replica has to know.
--
-- KEYS: delayed, provider pauses, workers, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: most packages to be brought back
-- Returns {how many were, ms until the next is due (-1 = none waits), {provider, ms left, …}, {worker ids…}}.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local moved, next_ms = 0, -1
if first[2] and tonumber(first[2]) <= now_ms then
  local keys = { unpack(KEYS, 4) }
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[1]))
  for i = #due, 1, -1 do
    local name, package = string.match(due[i], '^([^:]*):(.*)$')
    give_back(keys, name, package)
    redis.call('ZREM', KEYS[1], due[i])
  end
  moved = #due
  first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
end
if first[2] then next_ms = math.max(0, tonumber(first[2]) - now_ms) end
local pauses = {}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local ms = tonumber(all[i + 1]) - now_ms
  if ms > 0 then
    pauses[#pauses + 1] = all[i]
    pauses[#pauses + 1] = string.format('%d', ms)
  end
end
return { moved, next_ms, pauses, redis.call('SMEMBERS', KEYS[3]) }
