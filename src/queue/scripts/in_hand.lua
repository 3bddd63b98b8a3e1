-- KEYS: processing, suspects
-- Returns {{delivery id, package, …}, {counted crashes of each…}}.
local fields = redis.call('HGETALL', KEYS[1])
return { fields, crashes_of(KEYS[2], fields) }
