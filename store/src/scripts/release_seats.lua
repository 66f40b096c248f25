-- Gives seats back.
-- KEYS[i]: seat_lock:{show}:seat
-- ARGV[1]: unused   ARGV[i + 1]: the booking that had KEYS[i]
-- Returns: how many were given back
-- Atomic: a lock that has passed to another booking must stay.
local freed = 0
for i, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[i + 1] then
        redis.call('DEL', key)
        freed = freed + 1
    end
end
return freed
