-- Brings our jobs to where BullMQ takes them next, past those of others, which keep their order.
--
-- KEYS: 1 the list `wait` (taken from its right end, before), 2 the sorted set `prioritized`, 3 the sorted set `delayed`
-- ARGV: 1 what keys of jobs begin with, 2 how many at the most, 3 Unix ms now, 4... names of our jobs
-- Answers how many of ours come next now, whether others' jobs were seen, and whether a delayed job is due.

local SCAN = 1000
local prefix, most = ARGV[1], tonumber(ARGV[2])
local names = {}
for i = 4, #ARGV do
    names[ARGV[i]] = true
end

local ours, others = {}, 0
local function look(id, where)
    local name = redis.call('HGET', prefix .. id, 'name')
    if name and not names[name] then
        others = others + 1
    elseif name and #ours < most then
        ours[#ours + 1] = { id, where }
    end
end
local waiting = redis.call('LRANGE', KEYS[1], -SCAN, -1)
for i = #waiting, 1, -1 do
    look(waiting[i], 1)
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, SCAN - 1)) do
    look(id, 2)
end
if others > 0 then
    for i = #ours, 1, -1 do
        local id, where = ours[i][1], ours[i][2]
        if where == 1 then
            redis.call('LREM', KEYS[1], -1, id)
        else
            redis.call('ZREM', KEYS[2], id)
        end
        redis.call('RPUSH', KEYS[1], id)
    end
end
-- Source: BullMQ, `promoteDelayedJobs`: the time in ms times 0x1000, plus a number.
local due = redis.call('ZCOUNT', KEYS[3], 0, (tonumber(ARGV[3]) + 1) * 0x1000 - 1)
return { #ours, others, due }
