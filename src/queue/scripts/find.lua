-- Which jobs the packages of one place are for, part by part, so that Redis is never held up for long. Nothing is
-- decoded: every number is returned that stands behind a `jobId`, also in a JSON text within another, so a package can
-- name more jobs than its own.
--
-- Where a part is looked at while packages come and go, none that stays is missed: they come in at the places that are
-- looked at first, and leave from those that are looked at last.
--
-- KEYS: a list, sorted set or hash
-- ARGV: where the part begins
-- Returns {where the next one begins (-1: there is none), {job ids…}}.
local STEP, MOST, MOST_BYTES = 10, 500, 1048576
local kind = redis.call('TYPE', KEYS[1]).ok
local fields = kind == 'hash' and redis.call('HKEYS', KEYS[1])
local function packages_from(from)
  local last = from + STEP - 1
  if kind == 'list' then return redis.call('LRANGE', KEYS[1], from, last) end
  if kind == 'zset' then return redis.call('ZREVRANGE', KEYS[1], from, last) end
  if kind == 'hash' and from < #fields then
    return redis.call('HMGET', KEYS[1], unpack(fields, from + 1, math.min(last + 1, #fields)))
  end
  return {}
end

local first = tonumber(ARGV[1])
local place, bytes, ids = first, 0, {}
while place < first + MOST and bytes < MOST_BYTES do
  local packages = packages_from(place)
  if #packages == 0 then return { -1, ids } end
  for _, package in ipairs(packages) do
    bytes = bytes + #package
    -- One that is so large will be set aside, and is nobody's.
    if #package <= MOST_BYTES then
      for id in string.gmatch(package, 'jobId\\*"%s*:%s*\\*"?(%d+)') do ids[#ids + 1] = id end
    end
  end
  place = place + #packages
end
return { place, ids }
