-- Brings packages back whose time has come, the longest due first in line, and tells what else a replica has to know.
--
-- KEYS: delayed, workers, lists: critical, high, normal, low; sorted sets of the same; budgets; then of each provider and type: state,
--       open calls, parked, woken, calls of the last minute
-- ARGV: most packages to be brought back, then of each provider and type: open at most, within a minute at most
-- Returns {how many were, ms until the next is due, or a budget is to be looked at (-1 = none waits), {worker ids…}, now, {of each that is not well or parked for:
-- {its number, ms until parked packages may be woken (-1: none is parked), state}…}, {budgets that packages may be woken for…}}.
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local moved, next_ms = 0, -1
if first[2] and tonumber(first[2]) <= now_ms then
  local due = some(tonumber(ARGV[1]), BYTES_AT_ONCE, function(i)
    local entry = redis.call('ZRANGE', KEYS[1], i, i, 'WITHSCORES')
    return entry[2] and tonumber(entry[2]) <= now_ms and entry[1]
  end)
  moved = #due
  local names, packages = {}, {}
  for i, member in ipairs(due) do
    names[moved + 1 - i], packages[moved + 1 - i] = string.match(member, '^([^:]*):(.*)$')
  end
  redis.call('ZREM', KEYS[1], '')
  give_back({ unpack(KEYS, 3, 10) }, names, packages)
  redis.call('ZREM', KEYS[1], unpack(due))
  first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
end
if first[2] then next_ms = math.max(0, tonumber(first[2]) - now_ms) end
local budgets, opens = {}, redis.call('ZRANGE', KEYS[11], 0, 0, 'WITHSCORES')
if opens[2] then
  local opens_ms = math.max(0, tonumber(opens[2]) - now_ms)
  if opens_ms == 0 then
    budgets = redis.call('ZRANGEBYSCORE', KEYS[11], '-inf', now_ms, 'LIMIT', 0, 50)
  elseif next_ms < 0 or opens_ms < next_ms then
    next_ms = opens_ms
  end
end

local found, looked_at = {}, {}
for i = 12, #KEYS, 5 do
  looked_at[#looked_at + 1] = KEYS[i]
  looked_at[#looked_at + 1] = KEYS[i + 2]
end
-- Nearly always all of them are well, and nothing is parked.
if #looked_at > 0 and redis.call('EXISTS', unpack(looked_at)) > 0 then
  for number = 1, #looked_at / 2 do
    local keys = keys_from(7 + 5 * number)
    local state = read(keys.state)
    local is_parked = redis.call('EXISTS', keys.parked) == 1
    if is_parked or next(state) then
      local wait_ms = -1
      if is_parked then
        local room, is_limited
        room, wait_ms, is_limited =
          room_at(keys, state, tonumber(ARGV[2 * number]), tonumber(ARGV[2 * number + 1]))
        if is_limited and room > 0 and room <= count(keys.woken, now_ms) then
          wait_ms = first_after(keys.woken, now_ms) - now_ms
        end
      end
      found[#found + 1] = { number, wait_ms, redis.call('HGETALL', keys.state) }
    end
  end
end
return { moved, next_ms, redis.call('SMEMBERS', KEYS[2]), now_ms, found, budgets }
