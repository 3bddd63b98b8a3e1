-- Puts packages from the ledger at the head of the main list, the first one first in line, unless another process
-- compares the queue with the ledger by now. One that was put back before, and whose job has not changed since, is left
-- out for a while: it is where nobody has found it, and is not to be copied again and again.
--
-- KEYS: reconciler, put back, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: who compares, ms for which a job is left out, then for each: `<job>-<fence>-<deliveries>`, package
-- Returns how many were put back, -1 where another process compares.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
-- So long it is remembered what was put back.
local KEPT_MS = 3600000
local heads = { unpack(KEYS, 3) }
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local pause_ms = tonumber(ARGV[2])
local names, packages, marks = {}, {}, {}
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms - KEPT_MS)
for i = #ARGV - 1, 3, -2 do
  local before = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if not before or tonumber(before) <= now_ms - pause_ms then
    names[#names + 1] = 'ledger/' .. ARGV[i] .. '.normal'
    packages[#packages + 1] = ARGV[i + 1]
    marks[#marks + 1] = now_ms
    marks[#marks + 1] = ARGV[i]
  end
end
if #packages == 0 then return 0 end
-- The first command of this script on what is noted fails where that cannot be written, before anything is put back.
give_back(heads, names, packages)
redis.call('ZADD', KEYS[2], unpack(marks))
redis.call('PEXPIRE', KEYS[2], KEPT_MS)
return #packages
