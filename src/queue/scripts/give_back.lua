-- Begins the scripts that bring packages back: each goes to the head of the list that it came from. Where packages of that
-- list stand in a sorted set, that is the head, and a tag of 0 comes before every other.
--
-- keys: lists: critical, high, normal, low; sorted sets of the same. `name` is `<worker id>/<delivery id>`; the delivery's
-- id ends with the list.
local function give_back(keys, name, package)
  local list = ({ critical = 1, high = 2, normal = 3, low = 4 })[string.match(name, '%.(%a+)$')] or 3
  if redis.call('EXISTS', keys[4 + list]) == 1 then
    redis.call('ZADD', keys[4 + list], 0, name .. '::' .. package)
  else
    redis.call('RPUSH', keys[list], package)
  end
end

