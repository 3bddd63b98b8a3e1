-- Tells of events and ends deliveries whose jobs have ended, many at once, in their order. What is no longer in my hash is
-- somebody else's: of that nothing is done or told.
--
-- KEYS: processing, in-flight [, reply list, where one delivery is ended whose package names it]
-- ARGV: worker id, events channel (empty: nobody is told but the reply list), seconds that a reply list lives, then for each: delivery id (empty: nothing is ended),
--       event (may be empty)
-- An account without rights on the channel of events keeps no package from its end; the check at the start tells of it.
-- Returns the positions, counted from 1, of the deliveries that were not this worker's any more.
local ended, lost = {}, {}
-- Changes nothing, and fails where what has ended could not be taken out of it.
redis.call('ZREM', KEYS[2], '')
for i = 4, #ARGV, 2 do
  local delivery, event = ARGV[i], ARGV[i + 1]
  local is_mine = delivery == '' or redis.call('HDEL', KEYS[1], delivery) == 1
  if not is_mine then
    lost[#lost + 1] = i / 2 - 1
  else
    if delivery ~= '' then ended[#ended + 1] = ARGV[1] .. '/' .. delivery end
    if event ~= '' then
      if ARGV[2] ~= '' then redis.pcall('PUBLISH', ARGV[2], event) end
      -- A list that is none keeps nobody's package from its end.
      if KEYS[3] and type(redis.pcall('RPUSH', KEYS[3], event)) == 'number' then redis.call('EXPIRE', KEYS[3], ARGV[3]) end
    end
  end
end
if #ended > 0 then redis.call('ZREM', KEYS[2], unpack(ended)) end
return lost
