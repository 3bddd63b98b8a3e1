-- Begins the scripts that read packages. One call reads some MB of them at the most: all that it reads is copied more
-- than once, and nobody else is answered meanwhile.
local BYTES_AT_ONCE = 4000000

-- What `at` returns for 0, 1, 2, …: no more than `most` of them and, behind the first, no more than `bytes`. Ends
-- where `at` returns nothing. Returns also whether it was `bytes` that ended it.
local function some(most, bytes, at)
  local found, read = {}, 0
  while #found < most do
    local value = at(#found)
    if not value then return found, false end
    read = read + #value
    if #found > 0 and read > bytes then return found, true end
    found[#found + 1] = value
  end
  return found, false
end

