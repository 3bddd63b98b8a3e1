-- Claims up to `free` packages for this worker: first what BLMOVE has put on its landing list, then the waiting
-- lists, each by its share. From here on a package stands in the worker's processing hash until it is settled.
--
-- A list has a tag, which rises by 1 / weight with each package, and the lowest tag goes first. So lists that are all
-- full get shares as their weights are, and one that was empty for a while goes before others at once, and not for long.
--
-- With a `field` no collection or user holds up others: of a list with a backlog, packages go to a sorted set, each with
-- the tag that its group has reached. What one group has pushed by the thousand then stands in between the others'.
--
-- What is claimed is read first and removed last, behind its write to the processing hash: a key of a wrong type,
-- or a right that is missing, ends the script with the packages where they were.
--
-- KEYS: landing, processing, in-flight, workers, paused, lists: critical, high, normal, low; sorted sets of the same;
--       tags of groups of the same; suspects
-- ARGV: free, number of the first delivery, worker id, most packages to be sorted, field (may be empty),
--       weights: critical, high, normal, low; the lists' tags
-- Returns {whether new work is paused, {tags…}, {delivery id, package, …}, {counted crashes of each…}}.
local free = tonumber(ARGV[1])
local number = tonumber(ARGV[2])
local names = { 'critical', 'high', 'normal', 'low' }
local NORMAL = 3
local fields, marks, removals, weight, tag = {}, {}, {}, {}, {}
for i = 1, 4 do
  weight[i] = tonumber(ARGV[5 + i])
  tag[i] = tonumber(ARGV[9 + i])
end

local function claim(packages, list)
  for _, package in ipairs(packages) do
    local id = string.format('%d.%s', number, names[list])
    number = number + 1
    fields[#fields + 1] = id
    fields[#fields + 1] = package
    marks[#marks + 1] = ARGV[3] .. '/' .. id
  end
end

-- The packages of a list that leave it next, the first one first.
local function oldest(key, count)
  local packages = {}
  if count > 0 then
    local tail = redis.call('LRANGE', key, -count, -1)
    for i = #tail, 1, -1 do packages[#packages + 1] = tail[i] end
  end
  return packages
end

-- The same, to be claimed.
local function take_from(key, count)
  local packages = oldest(key, count)
  if #packages > 0 then
    removals[#removals + 1] = function() redis.call('RPOP', key, #packages) end
  end
  return packages
end

-- The collection or user that a package is for. What cannot be read is a group of its own.
local function group_of(package)
  local is_read, value = pcall(cjson.decode, package)
  if not is_read or type(value) ~= 'table' then return 'g' end
  local group
  if ARGV[5] == 'user' then
    group = tostring(value.userId)
  else
    group = tostring(value.collectionType) .. '/' .. tostring(value.collectionId)
  end
  return 'g' .. string.gsub(string.sub(group, 1, 140), '[:%c]', '_')
end

-- Moves the oldest packages of a list into its sorted set. The field without a name is the tag that was claimed last.
local function sort(list)
  local packages = oldest(KEYS[5 + list], tonumber(ARGV[4]))
  if #packages == 0 then return end
  local groups, reached, members, tags = {}, {}, {}, {}
  for i, package in ipairs(packages) do groups[i] = group_of(package) end
  local claimed = tonumber(redis.call('HGET', KEYS[13 + list], '') or 0)
  for i, value in ipairs(redis.call('HMGET', KEYS[13 + list], unpack(groups))) do
    reached[groups[i]] = math.max(claimed, tonumber(value or 0))
  end
  for i, package in ipairs(packages) do
    local group = groups[i]
    reached[group] = reached[group] + 1
    members[#members + 1] = reached[group]
    members[#members + 1] = string.format('%d:%s:', reached[group], group) .. package
  end
  for group, value in pairs(reached) do
    tags[#tags + 1] = group
    tags[#tags + 1] = value
  end
  redis.call('ZADD', KEYS[9 + list], unpack(members))
  redis.call('HSET', KEYS[13 + list], unpack(tags))
  redis.call('RPOP', KEYS[5 + list], #packages)
end

-- The packages of a sorted set with the lowest tags, to be claimed. With them go the tags of groups that have no more.
local function unsort(list, count)
  local lowest = redis.call('ZRANGE', KEYS[9 + list], 0, count - 1, 'WITHSCORES')
  local packages, groups, last = {}, {}, {}
  for i = 1, #lowest, 2 do
    local _, group, package = string.match(lowest[i], '^([^:]*):([^:]*):(.*)$')
    packages[#packages + 1] = package
    groups[#groups + 1] = group
    last[group] = lowest[i + 1]
  end
  local reached = redis.call('HMGET', KEYS[13 + list], unpack(groups))
  removals[#removals + 1] = function()
    redis.call('ZPOPMIN', KEYS[9 + list], count)
    if redis.call('EXISTS', KEYS[9 + list]) == 0 then
      redis.call('DEL', KEYS[13 + list])
    else
      for i, value in ipairs(reached) do
        if value == last[groups[i]] then redis.call('HDEL', KEYS[13 + list], groups[i]) end
      end
      local highest = lowest[#lowest]
      if highest ~= '0' then redis.call('HSET', KEYS[13 + list], '', highest) end
    end
  end
  return packages
end

-- Where packages will be claimed to has to be fit for it before anything is moved.
redis.call('HLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])

-- A worker that was taken for dead and is not has lost its name here. Under it alone its packages are found if
-- it dies before it renews its lease; those too that its next BLMOVE lands, as every one follows an adopt.
redis.call('SADD', KEYS[4], ARGV[3])

local is_paused = redis.call('EXISTS', KEYS[5])
local claimed, landed = 0, {}
if is_paused == 0 then
  landed = take_from(KEYS[1], free)
  claim(landed, NORMAL)
  if #landed > 0 then
    -- All lists were empty when it landed, and an empty list saves up nothing.
    claimed = math.max(0, tag[NORMAL]) + #landed / weight[NORMAL]
    for i = 1, 4 do tag[i] = math.max(tag[i], claimed) end
  end
end
if is_paused == 1 or #landed == free then
  -- What has landed and finds no slot goes back to where others find it; the newest first, as the oldest is to end up in front.
  for _ = 1, redis.call('LLEN', KEYS[1]) - #landed do
    redis.call('LMOVE', KEYS[1], KEYS[5 + NORMAL], 'LEFT', 'RIGHT')
  end
end

local missing = is_paused == 1 and 0 or free - #fields / 2
if missing > 0 then
  local sorted, count, take = { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }
  if ARGV[5] == '' and redis.call('EXISTS', KEYS[6], KEYS[7], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]) == 0 then
    -- Nearly always: nothing waits but in the main list, and how much there is need not be known.
    count[NORMAL] = missing
  else
    for i = 1, 4 do
      local waiting = redis.call('LLEN', KEYS[5 + i])
      sorted[i] = redis.call('ZCARD', KEYS[9 + i])
      if ARGV[5] ~= '' and waiting > 0 and (sorted[i] > 0 or waiting > missing) then
        sort(i)
        local left = redis.call('LLEN', KEYS[5 + i])
        sorted[i] = sorted[i] + waiting - left
        waiting = left
      end
      count[i] = sorted[i] + waiting
    end
  end
  for _ = 1, missing do
    local first, first_tag
    for i = 1, 4 do
      if take[i] < count[i] then
        local own = tag[i] + 1 / weight[i]
        if not first or own < first_tag - 1e-9 then first, first_tag = i, own end
      end
    end
    if not first then break end
    take[first] = take[first] + 1
    tag[first] = first_tag
    claimed = math.max(claimed, first_tag)
  end
  for i = 1, 4 do
    local from_sorted = math.min(take[i], sorted[i])
    if from_sorted > 0 then claim(unsort(i, from_sorted), i) end
    if take[i] > from_sorted then claim(take_from(KEYS[5 + i], take[i] - from_sorted), i) end
    -- An empty list saves up nothing.
    if take[i] == count[i] then tag[i] = math.max(tag[i], claimed) end
  end
end
if #fields > 0 then
  redis.call('HSET', KEYS[2], unpack(fields))
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local scores = {}
  for _, mark in ipairs(marks) do
    scores[#scores + 1] = now_ms
    scores[#scores + 1] = mark
  end
  redis.call('ZADD', KEYS[3], unpack(scores))
  for _, remove in ipairs(removals) do remove() end
end
for i = 1, 4 do tag[i] = string.format('%.17g', tag[i] - claimed) end
return { is_paused, tag, fields, crashes_of(KEYS[18], fields) }
