-- Ends calls to a provider, confirms those that go on, and brings parked packages back for the room that there is.
--
-- KEYS: open calls, parked, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: open at most (0 = any number), worker id, ms that a call counts as open, room of this worker itself, number of deliveries
--       whose calls have ended, those deliveries…, deliveries whose calls go on…
-- Returns how many packages were brought back.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = tonumber(ARGV[5])
for i = 6, #ARGV do
  local holder = ARGV[2] .. '/' .. ARGV[i]
  if i < 6 + ended then
    redis.call('ZREM', KEYS[1], holder)
  else
    redis.call('ZADD', KEYS[1], 'XX', now_ms + tonumber(ARGV[3]), holder)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
local keys = { unpack(KEYS, 3) }
local max_open = tonumber(ARGV[1])
local room = math.min(tonumber(ARGV[4]), max_open > 0 and max_open - redis.call('ZCARD', KEYS[1]) or 100)
local moved = 0
while moved < room do
  local parked = redis.call('LINDEX', KEYS[2], -1)
  if not parked then break end
  local name, package = string.match(parked, '^([^:]*):(.*)$')
  give_back(keys, name, package)
  redis.call('RPOP', KEYS[2])
  moved = moved + 1
end
return moved
