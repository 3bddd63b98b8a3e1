-- Lets a delivery call a provider, unless the provider is shut, or as many calls are open, or were made within a minute, as are
-- allowed. Whoever comes while others are parked goes behind them. After a shut the first call is the probe.
-- What is counted as a call of this minute is taken back by its name where the call is not made after all.
--
-- KEYS: processing, in-flight, state, open calls, parked, woken, calls of the last minute, lists: critical, high, normal, low;
--       sorted sets of the same
-- ARGV: delivery id, worker id, open at most, within a minute at most (0 = any number), ms that a call counts as open unless it is
--       confirmed, 1 = may be parked, number of the call within its delivery, 1 = this worker itself has room, provider, control
--       channel
-- Returns {what, ms, now, state}: 1 = it may call; 0 = it is parked, and it is worth looking after so many ms; 2 = not for so many
-- ms; 3 = it was not this worker's any more.
local keys = keys_from(3)
local package = redis.call('HGET', KEYS[1], ARGV[1])
if not package then return { 3, 0, now_ms, redis.call('HGETALL', keys.state) } end
local holder = ARGV[2] .. '/' .. ARGV[1]
local call = holder .. ':' .. ARGV[7]
local max_open, max_minute, hold_ms = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local may_park, has_own_room = ARGV[6] == '1', ARGV[8] == '1'
local state = read(keys.state)
local room, wait_ms = room_at(keys, state, max_open, max_minute, holder, call)
local is_in_turn = not may_park or count(keys.woken, now_ms) > 0 or redis.call('EXISTS', keys.parked) == 0
  or redis.call('ZSCORE', keys.open, holder)
if room < 1 or not has_own_room or not is_in_turn then
  if not may_park then
    return { 2, math.max(wait_ms, has_own_room and 1 or 1000), now_ms, redis.call('HGETALL', keys.state) }
  end
  -- Tried first, then added before it is removed, so that an error leaves the package where it is.
  redis.call('HDEL', KEYS[1], '')
  redis.call('LPUSH', keys.parked, holder .. ':' .. package)
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], holder)
  redis.call('ZPOPMIN', keys.woken)
  -- Not by a worker that has no room itself: it might take the same package again, and again.
  if has_own_room then
    wait_ms = select(2, wake(keys, { unpack(KEYS, 8) }, max_open, max_minute, CHUNK, hold_ms))
  end
  return { 0, wait_ms, now_ms, redis.call('HGETALL', keys.state) }
end
if may_park then redis.call('ZPOPMIN', keys.woken) end
redis.call('ZREMRANGEBYSCORE', keys.open, '-inf', now_ms)
redis.call('ZADD', keys.open, now_ms + hold_ms, holder)
redis.call('PEXPIRE', keys.open, hold_ms)
if max_minute > 0 then
  redis.call('ZREMRANGEBYSCORE', keys.recent, '-inf', now_ms - 60000)
  redis.call('ZADD', keys.recent, now_ms, call)
  redis.call('PEXPIRE', keys.recent, 60000)
end
if state['until'] and not state.window then
  redis.call('HSET', keys.state, 'probe', holder, 'probe_until', now_ms + hold_ms)
  publish(ARGV[10], ARGV[9], keys.state)
end
return { 1, 0, now_ms, redis.call('HGETALL', keys.state) }
