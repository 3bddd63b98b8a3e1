-- Ends a delivery whose job has failed for good. Postgres has it already; this set is a mirror with a cap.
--
-- KEYS: processing, in-flight, dead [, reply list]
-- ARGV: delivery id, worker id, events channel, final event, seconds that a reply list lives, member, score, cap
-- Returns 1, or 0 when the delivery was not this worker's any more.
if not redis.call('HGET', KEYS[1], ARGV[1]) then return 0 end
-- Tried first, then added before the delivery is removed, so that an error leaves the package where it is.
redis.call('HDEL', KEYS[1], '')
redis.call('ZREM', KEYS[2], '')
redis.call('ZADD', KEYS[3], ARGV[7], ARGV[6])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[2] .. '/' .. ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[8]))
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
if KEYS[4] then
  -- A list that is none keeps nobody's package from its end.
  if type(redis.pcall('RPUSH', KEYS[4], ARGV[4])) == 'number' then redis.call('EXPIRE', KEYS[4], ARGV[5]) end
end
return 1
