-- Claims up to `free` packages for this worker: first what BLMOVE has put on its landing list, then the waiting
-- lists, each by its share. From here on a package stands in the worker's processing hash until it is settled.
--
-- A list has a tag, which rises by 1 / weight with each package, and the lowest tag goes first. So lists that are all
-- full get shares as their weights are, and one that was empty for a while goes before others at once, and not for long.
--
-- With a `field` no collection or user holds up others: of a list with a backlog, packages go to a sorted set, each with
-- the tag that its group has reached. What one group has pushed by the thousand then stands in between the others'.
--
-- A package that is too large is moved to the list of those that are set aside when its turn comes, and no worker
-- sees a byte of it.
--
-- What is claimed is read first and removed last, behind its write to the processing hash; whatever is to be done
-- after that write has been tried before it in a way that changes nothing. So a key of a wrong type, or a right that
-- is missing, ends the script with the packages where they were.
--
-- KEYS: landing, processing, in-flight, workers, paused, lists: critical, high, normal, low; sorted sets of the same;
--       tags of groups of the same; suspects, packages that are set aside
-- ARGV: free, number of the first delivery, worker id, most packages to be sorted, field (may be empty),
--       weights: critical, high, normal, low; the lists' tags; most bytes of a package
-- Returns {whether new work is paused, {tags…}, {delivery id, package, …}, {counted crashes of each…}, {bytes of each
-- package that was set aside…}, 1 = more may wait than fitted into one call, {waiting lists that are of another type…}}.
local SORTED_BYTES, DECODED_BYTES = 1000000, 65536
local free = tonumber(ARGV[1])
local number = tonumber(ARGV[2])
local max_bytes = tonumber(ARGV[14])
local names = { 'critical', 'high', 'normal', 'low' }
local NORMAL = 3
local fields, marks, removals, weight, tag = {}, {}, {}, {}, {}
local aside, has_more, refused = {}, 0, {}
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

-- What `at` returns for 0, 1, 2, … as long as it is small enough. Where the very first is not, `set_aside` moves it.
local function small_ones(count, bytes, at, set_aside)
  local first_bytes
  local packages, is_cut = some(count, bytes, function(i)
    local package = at(i)
    if not package or #package <= max_bytes then return package end
    if i == 0 then first_bytes = #package end
    has_more = 1
  end)
  if is_cut then has_more = 1 end
  if first_bytes then
    set_aside()
    aside[#aside + 1] = first_bytes
  end
  return packages
end

-- How long a waiting list is, or how many a sorted set has. One that somebody has made another type holds up no other list:
-- nothing is taken from it, and it is named in the answer.
local function length(command, key)
  local answer = redis.pcall(command, key)
  if type(answer) == 'number' then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
  refused[#refused + 1] = key
  return 0
end

-- The packages of a list that leave it next, the first one first.
local function oldest(key, count, bytes)
  if count <= 0 then return {} end
  return small_ones(count, bytes, function(i) return redis.call('LINDEX', key, -1 - i) end, function()
    redis.call('LMOVE', key, KEYS[19], 'RIGHT', 'LEFT')
  end)
end

-- The same, to be claimed.
local function take_from(key, count)
  local packages = oldest(key, count, BYTES_AT_ONCE)
  if #packages > 0 then
    redis.call('LTRIM', key, 0, -1)
    removals[#removals + 1] = { 'LTRIM', key, 0, -1 - #packages }
  end
  return packages
end

-- The first value of a field in a package that is too long to be decoded, which may be another one's that is nested
-- in it.
local function value_of(package, name)
  local _, before = string.find(package, '"' .. name .. '"%s*:%s*"?')
  return before and string.match(package, '^[^",}%s]*', before + 1)
end

-- The collection or user that a package is for. What cannot be read is a group of its own.
local function group_of(package)
  local group_names, values = ARGV[5] == 'user' and { 'userId' } or { 'collectionType', 'collectionId' }, {}
  if #package > DECODED_BYTES then
    for i, name in ipairs(group_names) do values[i] = tostring(value_of(package, name)) end
  else
    local is_read, fields_of = pcall(cjson.decode, package)
    if not is_read or type(fields_of) ~= 'table' then return 'g' end
    for i, name in ipairs(group_names) do values[i] = tostring(fields_of[name]) end
  end
  return 'g' .. string.gsub(string.sub(table.concat(values, '/'), 1, 140), '[:%c]', '_')
end

-- Moves the oldest packages of a list into its sorted set. The field without a name is the tag that was claimed last.
local function sort(list)
  local packages = oldest(KEYS[5 + list], tonumber(ARGV[4]), SORTED_BYTES)
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
  redis.call('LTRIM', KEYS[5 + list], 0, -1)
  redis.call('HSET', KEYS[13 + list], unpack(tags))
  redis.call('ZADD', KEYS[9 + list], unpack(members))
  redis.call('LTRIM', KEYS[5 + list], 0, -1 - #packages)
end

-- The packages of a sorted set with the lowest tags, to be claimed. Returns also how the tags of groups go that have
-- no more.
local function unsort(list, count)
  local key, tags = KEYS[9 + list], KEYS[13 + list]
  local lowest, groups = {}, {}
  local packages = small_ones(count, BYTES_AT_ONCE, function(i)
    lowest[i + 1] = redis.call('ZRANGE', key, i, i, 'WITHSCORES')
    if not lowest[i + 1][1] then return nil end
    local _, group, package = string.match(lowest[i + 1][1], '^([^:]*):([^:]*):(.*)$')
    groups[i + 1] = group
    return package
  end, function()
    redis.call('ZREM', key, '')
    redis.call('LPUSH', KEYS[19], (string.match(lowest[1][1], '^[^:]*:[^:]*:(.*)$')))
    redis.call('ZREM', key, lowest[1][1])
  end)
  if #packages == 0 then return packages end
  local last = {}
  for i = 1, #packages do last[groups[i]] = lowest[i][2] end
  local reached = redis.call('HMGET', tags, unpack(groups))
  redis.call('ZREMRANGEBYRANK', key, 1, 0)
  removals[#removals + 1] = { 'ZREMRANGEBYRANK', key, 0, #packages - 1 }
  return packages, function()
    -- Nothing that goes wrong with tags keeps a package from being claimed.
    if redis.pcall('EXISTS', key) == 0 then return redis.pcall('DEL', tags) end
    for i = 1, #packages do
      if reached[i] == last[groups[i]] then redis.pcall('HDEL', tags, groups[i]) end
    end
    local highest = lowest[#packages][2]
    if highest ~= '0' then redis.pcall('HSET', tags, '', highest) end
  end
end

-- Where packages will be claimed to has to be fit for it before anything is moved.
redis.call('HLEN', KEYS[2])
redis.call('ZADD', KEYS[3], 'XX', 0, '')

-- A worker that was taken for dead and is not has lost its name here. Under it alone its packages are found if
-- it dies before it renews its lease; those too that its next BLMOVE lands, as every one follows an adopt.
redis.call('SADD', KEYS[4], ARGV[3])

local is_paused = redis.call('EXISTS', KEYS[5])
local claimed, landed, tidying = 0, {}, {}
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
      local fit = #refused
      local waiting = length('LLEN', KEYS[5 + i])
      sorted[i] = length('ZCARD', KEYS[9 + i])
      if #refused > fit then
        waiting, sorted[i] = 0, 0
      elseif ARGV[5] ~= '' and waiting > 0 and (sorted[i] > 0 or waiting > missing) then
        sort(i)
        waiting = redis.call('LLEN', KEYS[5 + i])
        sorted[i] = redis.call('ZCARD', KEYS[9 + i])
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
    if from_sorted > 0 then
      local packages, tidy = unsort(i, from_sorted)
      claim(packages, i)
      tidying[#tidying + 1] = tidy
    end
    if take[i] > from_sorted then claim(take_from(KEYS[5 + i], take[i] - from_sorted), i) end
    -- An empty list saves up nothing.
    if take[i] == count[i] then tag[i] = math.max(tag[i], claimed) end
  end
end
local crashes = crashes_of(KEYS[18], fields)
if #fields > 0 then
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local scores = {}
  for _, mark in ipairs(marks) do
    scores[#scores + 1] = now_ms
    scores[#scores + 1] = mark
  end
  redis.call('HSET', KEYS[2], unpack(fields))
  redis.call('ZADD', KEYS[3], unpack(scores))
  for _, removal in ipairs(removals) do redis.call(unpack(removal)) end
  for _, tidy in ipairs(tidying) do tidy() end
end
for i = 1, 4 do tag[i] = string.format('%.17g', tag[i] - claimed) end
return { is_paused, tag, fields, crashes, aside, has_more, refused }
