-- Begins the scripts that bring packages back: each goes to the head of the list that it came from. Where packages of that
-- list stand in a sorted set, that is the head, and a tag of 0 comes before every other.
--
-- keys: lists: critical, high, normal, low; sorted sets of the same. A name is `<worker id>/<delivery id>`; the
-- delivery's id ends with the list. All packages are given back or, where Redis refuses one, none; the last one is
-- the first in line then. That they can be taken away from where they are, which is to follow, has been seen before.
local function give_back(keys, names, packages)
  local places, order = {}, {}
  for i, package in ipairs(packages) do
    local list = ({ critical = 1, high = 2, normal = 3, low = 4 })[string.match(names[i], '%.(%a+)$')] or 3
    local place = places[list]
    if not place then
      local is_sorted = redis.call('EXISTS', keys[4 + list]) == 1
      local key = is_sorted and keys[4 + list] or keys[list]
      place = { is_sorted = is_sorted, key = key, count = 0, added = {}, members = {} }
      -- Changes nothing, and fails where what is added could not be taken away again.
      if is_sorted then redis.call('ZREM', place.key, '') else redis.call('LTRIM', place.key, 0, -1) end
      places[list] = place
      order[#order + 1] = place
    end
    place.count = place.count + 1
    if place.is_sorted then
      local member = names[i] .. '::' .. package
      place.members[place.count] = member
      place.added[#place.added + 1] = 0
      place.added[#place.added + 1] = member
    else
      place.added[place.count] = package
    end
  end
  for number, place in ipairs(order) do
    local answer = redis.pcall(place.is_sorted and 'ZADD' or 'RPUSH', place.key, unpack(place.added))
    if type(answer) == 'table' then
      for i = 1, number - 1 do
        local undone = order[i]
        if undone.is_sorted then
          redis.call('ZREM', undone.key, unpack(undone.members))
        else
          redis.call('LTRIM', undone.key, 0, -1 - undone.count)
        end
      end
      error(answer.err)
    end
  end
end

