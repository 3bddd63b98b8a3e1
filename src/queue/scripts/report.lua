-- Notes how a call to a provider has ended, which may shut the provider for all replicas, or let it recover.
--
-- A call that was begun before the provider was shut says nothing of how it is since; of many that were under way then, one
-- counts. A longer pause that it is told to ask for holds all the same.
--
-- KEYS: state, open calls, parked, woken, calls of the last minute, lists: critical, high, normal, low; sorted sets of the same
-- ARGV: open at most, within a minute at most (0 = any number), ms that a call counts as open, room of this worker itself,
--       provider, control channel, outcome: well, failing, refused or busy, ms of the pause that was asked for (0 = none), ms since
--       the call was begun, a random number below 1000, what the service has said (may be empty)
-- Returns {1 = the provider was shut before, how many packages were woken, ms until more may be (-1: none is parked), now, state}.
local FAULTS, FIRST_MS, LONGEST_MS = 5, 10000, 120000
local FIRST_PAUSE_MS, LONGEST_PAUSE_MS, LONGEST_ASKED_MS = 1000, 120000, 600000
local MOST_WINDOW = 16
local keys = keys_from(1)
local provider, channel, outcome = ARGV[5], ARGV[6], ARGV[7]
local asked_ms, began_ms = math.min(tonumber(ARGV[8]), LONGEST_ASKED_MS), now_ms - tonumber(ARGV[9])
local state = read(keys.state)
local was_shut = state['until'] and not state.window
local is_stale = (was_shut and state['until'] > now_ms) or began_ms < (state.since or 0)
local is_changed = true

-- `ms`: how long, which may differ from the length to be doubled by what keeps replicas apart.
local function shut(why, length_ms, ms)
  local until_ms = now_ms + (ms or length_ms)
  redis.call('HSET', keys.state, 'why', why, 'since', now_ms, 'until', until_ms, 'length', length_ms)
  redis.call('HSETNX', keys.state, 'began', now_ms)
  redis.call('HDEL', keys.state, 'window', 'probe', 'probe_until')
end

local function stumble(counter)
  local times = (state[counter] or 0) + 1
  redis.call('HSET', keys.state, counter, times)
  if counter == 'refusals' then redis.call('HDEL', keys.state, 'faults') end
  local why = counter == 'refusals' and 'refused' or 'failing'
  if was_shut then
    local is_breaker = state.why == 'failing' or state.why == 'refused'
    shut(why, is_breaker and math.min(state.length * 2, LONGEST_MS) or FIRST_MS)
  elseif times >= FAULTS then
    shut(why, FIRST_MS)
  end
end

if is_stale then
  is_changed = outcome == 'busy' and asked_ms > 0 and was_shut and state['until'] > now_ms
    and now_ms + asked_ms > state['until']
  if is_changed then
    redis.call('HSET', keys.state, 'why', 'asked', 'until', now_ms + asked_ms, 'length', asked_ms)
  end
elseif outcome == 'failing' then
  stumble('faults')
elseif outcome == 'refused' then
  stumble('refusals')
elseif outcome == 'busy' then
  if asked_ms >= FIRST_PAUSE_MS then
    shut('asked', asked_ms)
  else
    local length_ms = was_shut and state.why == 'busy' and state.length * 2 or FIRST_PAUSE_MS
    length_ms = math.min(length_ms, LONGEST_PAUSE_MS)
    shut('busy', length_ms, math.min(length_ms + math.floor(length_ms * ARGV[10] / 4000), LONGEST_PAUSE_MS))
  end
elseif was_shut then
  redis.call('HSET', keys.state, 'window', 2)
  redis.call('HDEL', keys.state, 'faults', 'refusals', 'length', 'probe', 'probe_until', 'began', 'reason')
elseif state.window and state.window < MOST_WINDOW then
  redis.call('HSET', keys.state, 'window', state.window * 2)
  redis.call('HDEL', keys.state, 'faults', 'refusals', 'reason')
else
  is_changed = redis.call('DEL', keys.state) == 1
end
if is_changed and ARGV[11] ~= '' then redis.call('HSET', keys.state, 'reason', ARGV[11]) end
if is_changed then
  local until_ms = tonumber(redis.call('HGET', keys.state, 'until') or now_ms)
  redis.call('PEXPIRE', keys.state, math.max(until_ms - now_ms, 0) + KEPT_MS)
  publish(channel, provider, keys.state)
end
local moved, wait_ms =
  wake(keys, { unpack(KEYS, 6) }, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[3]))
return { was_shut and 1 or 0, moved, wait_ms, now_ms, redis.call('HGETALL', keys.state) }
