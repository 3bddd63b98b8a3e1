-- Claims up to `free` packages for this worker: first what BLMOVE has put on its landing list, then the waiting
-- lists in the order given. From here on a package stands in the worker's processing hash until it is settled.
--
-- KEYS: landing, processing, in-flight, workers, waiting lists…
-- ARGV: free, number of the first delivery, worker id, priority of the landing list, priorities of the waiting lists…
-- Returns delivery id, package, delivery id, package, …
local free = tonumber(ARGV[1])
local number = tonumber(ARGV[2])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local fields, marks = {}, {}

local function claim(list, priority)
  local missing = free - #fields / 2
  if missing < 1 then return end
  for _, package in ipairs(redis.call('RPOP', list, missing) or {}) do
    local id = string.format('%d.%s', number, priority)
    number = number + 1
    fields[#fields + 1] = id
    fields[#fields + 1] = package
    marks[#marks + 1] = now_ms
    marks[#marks + 1] = ARGV[3] .. '/' .. id
  end
end

-- A worker that was taken for dead and is not has lost its name here. Under it alone its packages are found if
-- it dies before it renews its lease; those too that its next BLMOVE lands, as every one follows an adopt.
redis.call('SADD', KEYS[4], ARGV[3])
claim(KEYS[1], ARGV[4])
for i = 5, #KEYS do claim(KEYS[i], ARGV[i]) end
if #fields > 0 then
  redis.call('HSET', KEYS[2], unpack(fields))
  redis.call('ZADD', KEYS[3], unpack(marks))
end
return fields
