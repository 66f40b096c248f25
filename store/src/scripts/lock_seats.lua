-- Locks seats for undecided bookings.
-- KEYS[1]: seat_lock_generation:{show}:tier   KEYS[i + 1]: seat_lock:{show}:seat
-- ARGV[1]: the generation under which the caller knows the locks to be whole
-- ARGV[2]: time to live in milliseconds   ARGV[i + 2]: the booking that wants KEYS[i + 1]
-- Returns: false where the generation is another one or gone, and then nothing is locked; else for
-- each seat '' where it is now the booking's, or the booking that has it
-- Atomic: between the look and the lock nobody else may take the seat, and no flush may come.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return false
end
local answer = {}
for i = 2, #KEYS do
    local booking = ARGV[i + 1]
    local holder = redis.call('GET', KEYS[i])
    if not holder then
        redis.call('SET', KEYS[i], booking, 'PX', ARGV[2])
    end
    answer[i - 1] = (not holder or holder == booking) and '' or holder
end
return answer
