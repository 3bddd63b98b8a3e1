-- Notes a pause that a provider has asked for, and tells all replicas. By server time.
--
-- KEYS: provider pauses
-- ARGV: provider, milliseconds from now, control channel, notice
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms = now_ms + tonumber(ARGV[2])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) <= now_ms then redis.call('HDEL', KEYS[1], all[i]) end
end
if until_ms > tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) then
  redis.call('HSET', KEYS[1], ARGV[1], until_ms)
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return 1
