-- Counts what stands where, and shows which package of each list is taken next, unless it is too large to be handed
-- over.
--
-- KEYS: lists: critical, high, normal, low; sorted sets of the same; in-flight, delayed, dead, set-aside, paused
-- ARGV: most bytes of a package
-- Returns {{how many wait, the next one or nothing} of each list…, in flight, delayed, dead, set aside, whether new
-- work is paused}.
local answer = {}
for i = 1, 4 do
  local package = redis.call('LINDEX', KEYS[i], -1)
  local member = redis.call('ZRANGE', KEYS[4 + i], 0, 0)[1]
  if member then package = string.match(member, '^[^:]*:[^:]*:(.*)$') end
  local is_small = package and #package <= tonumber(ARGV[1])
  answer[i] = { redis.call('LLEN', KEYS[i]) + redis.call('ZCARD', KEYS[4 + i]), is_small and package or false }
end
for i = 9, 11 do answer[#answer + 1] = redis.call('ZCARD', KEYS[i]) end
answer[8] = redis.call('LLEN', KEYS[12])
answer[9] = redis.call('EXISTS', KEYS[13])
return answer
