-- Begins the scripts that look through the packages of one place, part by part, so that Redis is never held up for long.
--
-- KEYS: a list, sorted set or hash
local STEP, MOST, MOST_BYTES = 10, 500, 1048576
local kind = redis.call('TYPE', KEYS[1]).ok
local fields = kind == 'hash' and redis.call('HKEYS', KEYS[1])
-- The next packages, of a sorted set in the order that `range` (ZRANGE, ZREVRANGE) has.
local function packages_from(from, range)
  local last = from + STEP - 1
  if kind == 'list' then return redis.call('LRANGE', KEYS[1], from, last) end
  if kind == 'zset' then return redis.call(range, KEYS[1], from, last) end
  if kind == 'hash' and from < #fields then
    return redis.call('HMGET', KEYS[1], unpack(fields, from + 1, math.min(last + 1, #fields)))
  end
  return {}
end
