-- Begins the scripts that tell which packages are suspects: those that were in the processing hashes of two workers that
-- died, or in one as the only package, known by their bytes, as each delivery has another id. One crash alone is nearly always the
-- machine's, and many packages are with it: they are not to wait for one another. What is kept is how often it was there, and a
-- hundred for each crash that counts. `fields` is a processing hash: delivery id, package, …
--
-- Returns the counted crashes of each package, -1 for one that is no suspect; nothing at all where there are no
-- suspects. A key of a wrong type counts as none: what is kept in it stops no package.
local function crashes_of(suspects, fields)
  if #fields == 0 or redis.call('EXISTS', suspects) == 0 then return {} end
  local names, crashes = {}, {}
  for i = 2, #fields, 2 do names[#names + 1] = redis.sha1hex(fields[i]) end
  local counted = redis.pcall('HMGET', suspects, unpack(names))
  if counted.err then return {} end
  for i = 1, #names do
    local seen = tonumber(counted[i] or 0) or 0
    crashes[i] = seen < 2 and -1 or math.floor(seen / 100)
  end
  return crashes
end

