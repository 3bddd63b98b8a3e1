-- Gives the packages of a worker without a lease back to the head of the lists that they came from, the oldest
-- first in line. A bounded chunk at a time, each of them whole.
--
-- KEYS: lease, landing, processing, in-flight, workers, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: worker id, chunk
-- Returns -1 when the worker is alive, else how many were moved; fewer than the chunk = nothing is left.
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
local keys = { unpack(KEYS, 6) }
local chunk = tonumber(ARGV[2])
local moved = 0

-- What has just landed was taken last, so it goes back first and ends up behind the rest.
while moved < chunk and redis.call('LMOVE', KEYS[2], KEYS[8], 'LEFT', 'RIGHT') do moved = moved + 1 end

if moved < chunk then
  local ids = redis.call('HKEYS', KEYS[3])
  local function number(id) return tonumber(string.match(id, '^%d+')) or 0 end
  table.sort(ids, function(a, b) return number(a) > number(b) end)
  for i = 1, math.min(#ids, chunk - moved) do
    give_back(keys, ARGV[1] .. '/' .. ids[i], redis.call('HGET', KEYS[3], ids[i]))
    redis.call('HDEL', KEYS[3], ids[i])
    redis.call('ZREM', KEYS[4], ARGV[1] .. '/' .. ids[i])
    moved = moved + 1
  end
end

if moved < chunk then redis.call('SREM', KEYS[5], ARGV[1]) end
return moved
