-- Puts packages whose time has come at the head of the lists that they came from, the longest due first in line.
--
-- KEYS: delayed, waiting lists: critical, high, normal, low
-- ARGV: chunk
-- Returns how many were moved; fewer than the chunk = nothing else is due.
local lists = { critical = KEYS[2], high = KEYS[3], normal = KEYS[4], low = KEYS[5] }
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[1]))
for i = #due, 1, -1 do
  local name, package = string.match(due[i], '^([^:]*):(.*)$')
  redis.call('RPUSH', lists[string.match(name, '%.(%a+)$')] or KEYS[4], package)
  redis.call('ZREM', KEYS[1], due[i])
end
return #due
