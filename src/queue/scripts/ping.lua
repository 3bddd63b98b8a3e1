-- Says that a replica is able to work, and with it the service, where a full Redis refuses plain commands.
--
-- KEYS: the replica's ping, the service's ping
-- ARGV: what the replica tells of itself, Unix ms, TTL in ms
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
