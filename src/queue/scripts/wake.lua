-- Brings some of the packages back that are parked under a budget, the longest parked first in line, and looks again a little later:
-- each of them asks for its money, and the first that does not get it stops that. So few are woken in vain.
--
-- KEYS: parked, budgets, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: budget, most packages, ms until the next look
-- Returns how many.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local due_ms = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or -1)
-- Others have looked a moment ago.
if due_ms > now_ms then return 0 end
local parked = some(tonumber(ARGV[2]), BYTES_AT_ONCE, function(i) return redis.call('LINDEX', KEYS[1], -1 - i) end)
local names, packages = {}, {}
for i, member in ipairs(parked) do
  names[#parked + 1 - i], packages[#parked + 1 - i] = string.match(member, '^([^:]*):(.*)$')
end
if #parked > 0 then
  redis.call('LTRIM', KEYS[1], 0, -1)
  give_back({ unpack(KEYS, 3) }, names, packages)
  redis.call('LTRIM', KEYS[1], 0, -1 - #parked)
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('ZADD', KEYS[2], now_ms + ARGV[3], ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return #parked
