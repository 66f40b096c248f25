-- Changes locks to what the claims say.
-- KEYS[i]: seat_lock:{show}:seat
-- ARGV[3i - 2]: the booking the lock was seen to name, '' for no lock
-- ARGV[3i - 1]: the booking it is to name, '' for no lock   ARGV[3i]: time to live in milliseconds
-- Returns: how many locks changed
-- Atomic: a lock that changed after it was seen is newer than the claims that were read, and must stay.
local mended = 0
for i, key in ipairs(KEYS) do
    local seen, wanted, ttl = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
    if (redis.call('GET', key) or '') == seen then
        if wanted == '' then
            mended = mended + redis.call('DEL', key)
        elseif wanted ~= seen or math.abs(redis.call('PTTL', key) - ttl) > 1000 then
            redis.call('SET', key, wanted, 'PX', ttl)
            mended = mended + 1
        end
    end
end
return mended
