-- Renews a worker's lease, or takes it anew when it has run out, and says that the worker is able to work, and with it
-- the service.
--
-- KEYS: lease, workers [, the replica's ping, the service's ping]
-- ARGV: worker id, TTL of the lease in ms [, what the replica tells of itself, Unix ms, TTL of the pings in ms]
-- Returns 1 when the lease had been held all along, 0 when it had run out.
redis.call('SADD', KEYS[2], ARGV[1])
local was_held = redis.call('PEXPIRE', KEYS[1], ARGV[2])
if was_held == 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
if KEYS[3] then
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[5])
  redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5])
end
return was_held
