-- Takes a worker's lease anew when it has run out. Whoever found it gone may have struck out the worker's name too.
--
-- KEYS: lease, workers
-- ARGV: worker id, TTL in ms
-- Returns 1 when the lease had been held all along, 0 when it had run out.
redis.call('SADD', KEYS[2], ARGV[1])
if redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then return 1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
