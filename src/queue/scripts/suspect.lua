-- Begins or ends the time in which a crash of this worker counts as that of the suspect that it runs.
--
-- KEYS: the suspect that this worker runs, suspects
-- ARGV: delivery id, seconds that it is noted for (0 = it has ended)
--       [, package, where it has survived: no suspect any more]
if ARGV[2] ~= '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
elseif redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
if ARGV[3] then redis.pcall('HDEL', KEYS[2], redis.sha1hex(ARGV[3])) end
return 1
