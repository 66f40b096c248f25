-- Confirms that the locks of a partition are whole.
-- KEYS[1]: seat_lock_generation:{show}:tier
-- ARGV[1]: the generation   ARGV[2]: time to live in milliseconds
-- Returns: 1, or 0 if another generation has begun or Redis has lost this one
-- Atomic: a flush in the middle of a rebuild deletes the generation with the locks.
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] and now ~= 'begun ' .. ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
