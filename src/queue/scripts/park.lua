-- Parks a delivery under a budget that is spent, until the budget opens. The last package to be parked says when that is looked
-- at, as it was told last.
--
-- KEYS: processing, in-flight, parked, budgets
-- ARGV: delivery id, worker id, budget, ms until packages are woken, events channel, event
-- Returns 1, or 0 when the delivery was not this worker's any more.
local package = redis.call('HGET', KEYS[1], ARGV[1])
if not package then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local holder = ARGV[2] .. '/' .. ARGV[1]
-- Tried first, then added before it is removed, so that an error leaves the package where it is.
redis.call('HDEL', KEYS[1], '')
redis.call('ZREM', KEYS[2], '')
redis.call('ZADD', KEYS[4], now_ms + ARGV[4], ARGV[3])
redis.call('LPUSH', KEYS[3], holder .. ':' .. package)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], holder)
redis.pcall('PUBLISH', ARGV[5], ARGV[6])
return 1
