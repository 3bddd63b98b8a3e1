-- Notes a pause that a provider has asked for, and tells all that hold. By server time.
--
-- KEYS: provider pauses
-- ARGV: [provider, milliseconds from now]
-- Returns provider, milliseconds left, provider, milliseconds left, …
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] then
  local until_ms = now_ms + tonumber(ARGV[2])
  if until_ms > tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) then
    redis.call('HSET', KEYS[1], ARGV[1], until_ms)
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  end
end
local left = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ms = tonumber(all[i + 1]) - now_ms
  if ms > 0 then
    left[#left + 1] = all[i]
    left[#left + 1] = string.format('%d', ms)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return left
