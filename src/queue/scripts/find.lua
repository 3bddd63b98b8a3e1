-- Which jobs the packages of one place are for, part by part. Nothing is
-- decoded: every number is returned that stands behind a `jobId`, also in a JSON text within another, so a package can
-- name more jobs than its own.
--
-- Where a part is looked at while packages come and go, none that stays is missed: they come in at the places that are
-- looked at first, and leave from those that are looked at last.
--
-- KEYS: a list, sorted set or hash
-- ARGV: where the part begins
-- Returns {where the next one begins (-1: there is none), {job ids…}}.
local first = tonumber(ARGV[1])
local place, bytes, ids = first, 0, {}
while place < first + MOST and bytes < MOST_BYTES do
  local packages = packages_from(place, 'ZREVRANGE')
  if #packages == 0 then return { -1, ids } end
  for _, package in ipairs(packages) do
    bytes = bytes + #package
    -- One that is so large will be set aside, and is nobody's.
    if #package <= MOST_BYTES then
      for id in string.gmatch(package, 'jobId\\*"%s*:%s*\\*"?(%d+)') do ids[#ids + 1] = id end
    end
  end
  place = place + #packages
end
return { place, ids }
