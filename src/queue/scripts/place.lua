-- Looks for the package of a job in one place, part by part. Nothing is decoded: a package that
-- only mentions the job is taken for its own.
--
-- KEYS: a list, sorted set or hash
-- ARGV: job id, where the part begins
-- Returns {where the next part begins (-1: there is none), how many were looked at, and where the package is in this part: how many leave
-- the list before it, its score in a sorted set, and the package itself}.
local pattern = 'jobId\\*"%s*:%s*\\*"?(%d+)'
local first = tonumber(ARGV[2])
local place, bytes = first, 0
while place < first + MOST and bytes < MOST_BYTES do
  local packages = packages_from(place, 'ZRANGE')
  if #packages == 0 then return { -1, place - first, false, false, false } end
  for i, package in ipairs(packages) do
    bytes = bytes + #package
    if #package <= MOST_BYTES and string.match(package, pattern) == ARGV[1] then
      local before = kind == 'list' and redis.call('LLEN', KEYS[1]) - place - i or 0
      local score = kind == 'zset' and redis.call('ZSCORE', KEYS[1], package)
      return { -1, place - first + i, before, score, package }
    end
  end
  place = place + #packages
end
return { place, place - first, false, false, false }
