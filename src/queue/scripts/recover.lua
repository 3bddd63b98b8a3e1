-- Gives the packages of a worker without a lease back to the head of the lists that they came from, the oldest
-- first in line. A bounded chunk at a time, each of them whole.
--
-- Where the worker has crashed, that is noted for each package that it had adopted: after a second time it is a suspect. The crash
-- counts as that of the one suspect that it ran, or of its only package; of nobody where it could have been one of several.
--
-- KEYS: lease, landing, processing, in-flight, workers, suspects, the suspect that this worker ran, its ping, the dead,
--       lists: critical, high, normal, low; sorted sets of the same
-- ARGV: worker id, chunk, 1 = the worker has crashed (0 = it leaves), seconds that suspects are remembered,
--       seconds that the dead are remembered, how many of them, ms that a lease holds
-- Returns {-1, 0} when the worker is alive, else {how many were moved, 1 = some are left}.
if redis.call('EXISTS', KEYS[1]) == 1 then return { -1, 0 } end
local keys = { unpack(KEYS, 10) }
local chunk = tonumber(ARGV[2])
local has_crashed = ARGV[3] == '1'
local moved, read = 0, 0
local MOST_DECODED, MOST_JOBS = 1000000, 100

-- The job of a package, also of one that was encoded twice; nothing where it cannot be read.
local function job_of(package)
  for _ = 1, 2 do
    local is_read, found = pcall(cjson.decode, package)
    if not is_read then return end
    if type(found) == 'table' then return tonumber(found.jobId) end
    package = found
  end
end

-- Keeps a trace of a worker that has crashed, for people: when it was seen last, and what it had in hand. Nothing that goes wrong
-- with that keeps a package from coming back.
local function leave_trace(packages, count)
  if not has_crashed then return end
  local known = redis.call('HGET', KEYS[9], ARGV[1])
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local is_read, trace = pcall(cjson.decode, known or '')
  if not is_read then
    local ping = redis.pcall('GET', KEYS[8])
    trace = { packages = 0, jobIds = '', silentMs = now_ms - tonumber(ARGV[7]), ping = type(ping) == 'string' and ping or nil }
  end
  local decoded, _, listed = 0, string.gsub(trace.jobIds, '%d+', '')
  for _, package in ipairs(packages) do
    decoded = decoded + #package
    local job = decoded <= MOST_DECODED and listed < MOST_JOBS and job_of(package)
    if job then
      trace.jobIds = trace.jobIds .. (listed > 0 and ',' or '') .. string.format('%.0f', job)
      listed = listed + 1
    end
  end
  trace.packages, trace.recoveredMs = trace.packages + count, now_ms
  redis.call('HSET', KEYS[9], ARGV[1], cjson.encode(trace))
  redis.call('EXPIRE', KEYS[9], ARGV[5])
  local all = redis.call('HGETALL', KEYS[9])
  if #all / 2 > tonumber(ARGV[6]) then
    local oldest, oldest_ms
    for i = 1, #all, 2 do
      local is_trace, other = pcall(cjson.decode, all[i + 1])
      local ms = is_trace and tonumber(other.recoveredMs) or 0
      if not oldest or ms < oldest_ms then oldest, oldest_ms = all[i], ms end
    end
    redis.call('HDEL', KEYS[9], oldest)
  end
end

-- What has just landed was taken last, so it goes back first and ends up behind the rest.
local landed = {}
while moved < chunk and read < BYTES_AT_ONCE do
  local package = redis.call('LMOVE', KEYS[2], keys[3], 'LEFT', 'RIGHT')
  if not package then break end
  landed[#landed + 1] = package
  moved, read = moved + 1, read + #package
end
if moved == chunk or read >= BYTES_AT_ONCE then
  pcall(leave_trace, landed, moved)
  return { moved, 1 }
end

local ids = redis.call('HKEYS', KEYS[3])
if #ids > 0 then
  local function number(id) return tonumber(string.match(id, '^%d+')) or 0 end
  table.sort(ids, function(a, b) return number(a) > number(b) end)
  redis.call('HDEL', KEYS[3], '')
  local packages = some(chunk - moved, BYTES_AT_ONCE, function(i)
    return ids[i + 1] and redis.call('HGET', KEYS[3], ids[i + 1])
  end)
  local names, given_back = {}, {}
  for i = 1, #packages do
    names[i] = ARGV[1] .. '/' .. ids[i]
    given_back[i] = ids[i]
  end
  local ran = redis.pcall('GET', KEYS[7])
  if not ran and #ids == 1 then ran = ids[1] end
  if has_crashed and not ran and #ids > #packages then
    -- The last chunk may be a single package, which was not the only one.
    redis.pcall('SET', KEYS[7], '', 'EX', ARGV[4])
  end
  give_back(keys, names, packages)
  redis.call('HDEL', KEYS[3], unpack(given_back))
  if has_crashed then
    -- Nothing that goes wrong with the counting keeps a package from coming back.
    for i, package in ipairs(packages) do
      redis.pcall('HINCRBY', KEYS[6], redis.sha1hex(package), ids[i] == ran and 101 or 1)
    end
    redis.pcall('EXPIRE', KEYS[6], ARGV[4])
  end
  moved = moved + #packages
  redis.call('ZREM', KEYS[4], unpack(names))
  for _, package in ipairs(packages) do landed[#landed + 1] = package end
  if #packages < #ids then
    pcall(leave_trace, landed, moved)
    return { moved, 1 }
  end
end

-- Once, whoever else looks at the same moment.
local was_there = redis.call('SREM', KEYS[5], ARGV[1]) == 1
if was_there or moved > 0 then pcall(leave_trace, landed, moved) end
redis.call('DEL', KEYS[7])
return { moved, 0 }
