-- Begins the scripts that judge whether a provider may be called, after `give_back`. By server time.
--
-- What is known of a provider that is not well is one hash: `why` it was last shut (asked, busy, failing, refused), `since` and
-- `until` when, when it `began` to be shut without having been well since, the `length` of that, `faults` and `refusals` in a row, the last `reason`, the `probe` that tries it after that and when it is
-- forgotten (`probe_until`), and the `window` of calls that may be open while it recovers. All times are in ms. A provider without
-- a hash is well. Where packages wait for a type, there is no hash either.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- Packages that one call wakes at the most.
local CHUNK = 100
-- How long a hash is kept that nobody changes, beyond the time that the provider is shut for.
local KEPT_MS = 3600000

-- The five keys of a provider or a type, which begin at KEYS[first].
local function keys_from(first)
  return {
    state = KEYS[first], open = KEYS[first + 1], parked = KEYS[first + 2],
    woken = KEYS[first + 3], recent = KEYS[first + 4],
  }
end

local function read(key)
  local flat, state = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do state[flat[i]] = tonumber(flat[i + 1]) or flat[i + 1] end
  return state
end

local function count(key, after_ms)
  return redis.call('ZCOUNT', key, '(' .. after_ms, '+inf')
end

local function first_after(key, after_ms)
  local first = redis.call('ZRANGEBYSCORE', key, '(' .. after_ms, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return tonumber(first[2] or after_ms)
end

-- How many calls may be opened now, what is not confirmed any more left out; ms until that can change by itself; and whether
-- anything limits them at all. The calls of `holder`, which asks, are not in its own way.
local function room_at(keys, state, max_open, max_minute, holder, call)
  local room, wait_ms, is_limited = CHUNK, 0, false
  local function bound(left, ms)
    is_limited = true
    room = math.min(room, left)
    if left <= 0 then wait_ms = math.max(wait_ms, ms) end
  end
  local most = max_open > 0 and max_open or math.huge
  if state.window then most = math.min(most, state.window) end
  if most < math.huge then
    local own = holder and tonumber(redis.call('ZSCORE', keys.open, holder) or 0) > now_ms and 1 or 0
    bound(most - count(keys.open, now_ms) + own, first_after(keys.open, now_ms) - now_ms)
  end
  if max_minute > 0 then
    local since_ms = now_ms - 60000
    local own = call and tonumber(redis.call('ZSCORE', keys.recent, call) or 0) > since_ms and 1 or 0
    bound(max_minute - count(keys.recent, since_ms) + own, first_after(keys.recent, since_ms) - since_ms)
  end
  if state['until'] and not state.window then
    if state['until'] > now_ms then
      bound(0, state['until'] - now_ms)
    elseif state.probe ~= holder and (state.probe_until or 0) > now_ms then
      bound(0, state.probe_until - now_ms)
    else
      bound(1, 0)
    end
  end
  return room, wait_ms, is_limited
end

-- Brings packages back to the heads of their lists, as many as there is room for, the longest parked first in line. Each keeps
-- its room for `hold_ms`, or until one asks to call: so nobody is woken in vain while slots are busy.
-- Returns how many, and ms until more may be (-1: none is parked).
local function wake(keys, heads, max_open, max_minute, own_room, hold_ms)
  local room, wait_ms, is_limited = room_at(keys, read(keys.state), max_open, max_minute)
  if is_limited and room > 0 then
    room = room - count(keys.woken, now_ms)
    if room <= 0 then wait_ms = first_after(keys.woken, now_ms) - now_ms end
  end
  room = math.min(room, own_room)
  local moved, is_cut = 0, false
  if room > 0 then
    local parked
    parked, is_cut = some(room, BYTES_AT_ONCE, function(i) return redis.call('LINDEX', keys.parked, -1 - i) end)
    moved = #parked
    local names, packages = {}, {}
    for i, member in ipairs(parked) do
      names[moved + 1 - i], packages[moved + 1 - i] = string.match(member, '^([^:]*):(.*)$')
    end
    if moved > 0 then
      redis.call('LTRIM', keys.parked, 0, -1)
      give_back(heads, names, packages)
      redis.call('LTRIM', keys.parked, 0, -1 - moved)
    end
    if is_limited and moved > 0 then
      redis.call('ZREMRANGEBYSCORE', keys.woken, '-inf', now_ms)
      for _, name in ipairs(names) do redis.call('ZADD', keys.woken, now_ms + hold_ms, name) end
      redis.call('PEXPIRE', keys.woken, hold_ms)
    end
  end
  if redis.call('EXISTS', keys.parked) == 0 then return moved, -1 end
  if moved == CHUNK or is_cut then return moved, 0 end
  if moved > 0 then return moved, hold_ms end
  -- Where other workers have room and this one has none, the end of one of its own calls is what to wait for.
  return moved, own_room < 1 and math.max(wait_ms, 1000) or wait_ms
end

-- Tells all replicas how it stands with a provider.
local function publish(channel, provider, key)
  local fields, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  redis.pcall('PUBLISH', channel, cjson.encode({
    notice = 'provider', provider = provider, nowMs = string.format('%d', now_ms), fields = fields,
  }))
end

