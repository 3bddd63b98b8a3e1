-- Gives the packages of a worker without a lease back to the head of the lists that they came from, the oldest
-- first in line. A bounded chunk at a time, each of them whole.
--
-- Where the worker has crashed, that is noted for each package that it had adopted: after a second time it is a suspect. The crash
-- counts as that of the one suspect that it ran, or of its only package; of nobody where it could have been one of several.
--
-- KEYS: lease, landing, processing, in-flight, workers, suspects, the suspect that this worker ran,
--       lists: critical, high, normal, low; sorted sets of the same
-- ARGV: worker id, chunk, 1 = the worker has crashed (0 = it leaves), seconds that suspects are remembered
-- Returns {-1, 0} when the worker is alive, else {how many were moved, 1 = some are left}.
if redis.call('EXISTS', KEYS[1]) == 1 then return { -1, 0 } end
local keys = { unpack(KEYS, 8) }
local chunk = tonumber(ARGV[2])
local has_crashed = ARGV[3] == '1'
local moved, read = 0, 0

-- What has just landed was taken last, so it goes back first and ends up behind the rest.
while moved < chunk and read < BYTES_AT_ONCE do
  local package = redis.call('LMOVE', KEYS[2], keys[3], 'LEFT', 'RIGHT')
  if not package then break end
  moved, read = moved + 1, read + #package
end
if moved == chunk or read >= BYTES_AT_ONCE then return { moved, 1 } end

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
  if #packages < #ids then return { moved, 1 } end
end

redis.call('SREM', KEYS[5], ARGV[1])
redis.call('DEL', KEYS[7])
return { moved, 0 }
