-- Lets a delivery wait for a time: a retry, `notBefore`, or a job that another delivery holds. By server time alone:
-- a worker whose clock goes wrong would send a package back and forth.
--
-- KEYS: processing, in-flight, delayed
-- ARGV: delivery id, worker id, events channel, event (may be empty), "in" or "at", milliseconds
-- Returns 1, or 0 when nothing was done: the delivery was not this worker's any more, or the time to wait "at" has
-- come.
local package = redis.call('HGET', KEYS[1], ARGV[1])
if not package then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local due_ms = tonumber(ARGV[6])
if ARGV[5] == 'in' then
  due_ms = due_ms + now_ms
elseif due_ms <= now_ms then
  return 0
end
-- The delivery's name makes equal packages different members; the tick cuts it off again. The removal is tried first,
-- then the package is added before it is removed, so that an error leaves it where it is.
redis.call('HDEL', KEYS[1], '')
redis.call('ZREM', KEYS[2], '')
redis.call('ZADD', KEYS[3], due_ms, ARGV[2] .. '/' .. ARGV[1] .. ':' .. package)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[2] .. '/' .. ARGV[1])
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[3], ARGV[4]) end
return 1
