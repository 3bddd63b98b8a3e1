-- Lets packages of a job that wait for a time wait no longer: each goes to the head of the list that it came from. A part of the
-- set is looked at in one call, so that Redis is never held up for long. Nothing is decoded: a package that only mentions the job
-- comes back too early, and waits again.
--
-- KEYS: delayed, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: job, where the part begins
-- Returns {where the next one begins (-1: there is none), how many packages were given back}.
local STEP, MOST, MOST_BYTES = 10, 500, 1048576
local first = tonumber(ARGV[2])
local place, bytes = first, 0
local members, names, packages = {}, {}, {}
local pattern = 'jobId\\*"%s*:%s*\\*"?(%d+)'
while place < first + MOST and bytes < MOST_BYTES do
  local part = redis.call('ZREVRANGE', KEYS[1], place, place + STEP - 1)
  if #part == 0 then
    place = -1
    break
  end
  for _, member in ipairs(part) do
    bytes = bytes + #member
    for id in string.gmatch(member, pattern) do
      if id == ARGV[1] then
        members[#members + 1] = member
        names[#names + 1], packages[#packages + 1] = string.match(member, '^([^:]*):(.*)$')
        break
      end
    end
  end
  place = place + #part
end
if #members > 0 then
  -- Tried first, so that a package is never in two places.
  redis.call('ZREM', KEYS[1], '')
  give_back({ unpack(KEYS, 2) }, names, packages)
  redis.call('ZREM', KEYS[1], unpack(members))
  if place >= 0 then place = place - #members end
end
return { place, #members }
