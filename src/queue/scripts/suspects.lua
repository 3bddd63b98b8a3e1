-- Begins the scripts that tell which packages are suspects: those that were in the processing hash of a worker that
-- died, known by their bytes, as each delivery has another id. `fields` is a processing hash: delivery id, package, …
--
-- Returns the counted crashes of each package, -1 for one that is no suspect; nothing at all where there are no
-- suspects. A key of a wrong type counts as none: what is kept in it stops no package.
local function crashes_of(suspects, fields)
  if #fields == 0 or redis.call('EXISTS', suspects) == 0 then return {} end
  local names, crashes = {}, {}
  for i = 2, #fields, 2 do names[#names + 1] = redis.sha1hex(fields[i]) end
  local counted = redis.pcall('HMGET', suspects, unpack(names))
  if counted.err then return {} end
  for i = 1, #names do crashes[i] = tonumber(counted[i] or -1) or -1 end
  return crashes
end

