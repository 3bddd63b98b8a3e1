-- Ends calls to a provider, confirms those that go on, and wakes parked packages for the room that there is.
--
-- KEYS: state, open calls, parked, woken, calls of the last minute, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: open at most, within a minute at most (0 = any number), worker id, ms that a call counts as open, room of this worker
--       itself, provider, control channel, number of deliveries whose calls have ended, those deliveries…, deliveries whose calls
--       go on…
-- Returns {how many packages were woken, ms until more may be (-1: none is parked), now, state}.
local keys = keys_from(1)
local hold_ms, ended = tonumber(ARGV[4]), tonumber(ARGV[8])
local probe = redis.call('HGET', keys.state, 'probe')
for i = 9, #ARGV do
  local holder = ARGV[3] .. '/' .. ARGV[i]
  if i < 9 + ended then
    redis.call('ZREM', keys.open, holder)
    if holder == probe then
      redis.call('HDEL', keys.state, 'probe', 'probe_until')
      publish(ARGV[7], ARGV[6], keys.state)
    end
  else
    redis.call('ZADD', keys.open, 'XX', now_ms + hold_ms, holder)
    redis.call('PEXPIRE', keys.open, hold_ms)
    if holder == probe then redis.call('HSET', keys.state, 'probe_until', now_ms + hold_ms) end
  end
end
redis.call('ZREMRANGEBYSCORE', keys.open, '-inf', now_ms)
local moved, wait_ms =
  wake(keys, { unpack(KEYS, 6) }, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5]), hold_ms)
return { moved, wait_ms, now_ms, redis.call('HGETALL', keys.state) }
