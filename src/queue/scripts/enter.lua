-- Lets a delivery call a provider, unless as many calls are open, or were made within a minute, as are allowed. By server time.
-- What is counted as a call of this minute is taken back by its name where the call is not made after all.
-- Where too many are open, the delivery goes to the parked list, if it may, from which the next call that ends brings one back.
--
-- KEYS: processing, in-flight, open calls, parked, calls of the last minute
-- ARGV: delivery id, worker id, open at most, within a minute at most (0 = any number), ms that a call counts as open unless it is
--       confirmed, 1 = may be parked, number of the call within its delivery, 1 = this worker itself has room
-- Returns {what, ms}: 1 = it may call; 0 = it is parked; 2 = not for so many ms; 3 = it was not this worker's any more.
local package = redis.call('HGET', KEYS[1], ARGV[1])
if not package then return { 3, 0 } end
local holder = ARGV[2] .. '/' .. ARGV[1]
local max_open, max_minute = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_ms)
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now_ms - 60000)
local is_full = max_open > 0 and redis.call('ZCARD', KEYS[3]) >= max_open and not redis.call('ZSCORE', KEYS[3], holder)
if is_full or ARGV[8] ~= '1' then
  if ARGV[6] ~= '1' then return { 2, 1000 } end
  -- Added before it is removed, so that an error leaves the package where it is.
  redis.call('LPUSH', KEYS[4], holder .. ':' .. package)
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], holder)
  return { 0, 0 }
end
-- Counted already where the answer was lost.
local call = holder .. ':' .. ARGV[7]
if max_minute > 0 and redis.call('ZCARD', KEYS[5]) >= max_minute and not redis.call('ZSCORE', KEYS[5], call) then
  local oldest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
  return { 2, math.max(1, tonumber(oldest[2]) + 60000 - now_ms) }
end
redis.call('ZADD', KEYS[3], now_ms + tonumber(ARGV[5]), holder)
if max_minute > 0 then
  redis.call('ZADD', KEYS[5], now_ms, call)
  redis.call('PEXPIRE', KEYS[5], 60000)
end
return { 1, 0 }
