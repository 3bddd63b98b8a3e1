-- Ends a delivery whose job has ended. The first step decides: what is no longer in my hash is somebody else's.
--
-- KEYS: processing, in-flight [, reply list]
-- ARGV: delivery id, worker id, events channel, final event (may be empty), seconds that a reply list lives
-- Returns 1, or 0 when the delivery was not this worker's any more.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2] .. '/' .. ARGV[1])
if ARGV[4] ~= '' then
  redis.call('PUBLISH', ARGV[3], ARGV[4])
  if KEYS[3] then
    -- A list that is none keeps nobody's package from its end.
    if type(redis.pcall('RPUSH', KEYS[3], ARGV[4])) == 'number' then redis.call('EXPIRE', KEYS[3], ARGV[5]) end
  end
end
return 1
