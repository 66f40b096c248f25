-- Locks seats for undecided bookings.
-- KEYS[i]: seat_lock:{show}:seat
-- ARGV[1]: time to live in milliseconds   ARGV[i + 1]: the booking that wants KEYS[i]
-- Returns: for each seat '' where it is now the booking's, else the booking that has it
-- Atomic: between the look and the lock nobody else may take the seat.
local answer = {}
for i, key in ipairs(KEYS) do
    local booking = ARGV[i + 1]
    local holder = redis.call('GET', key)
    if not holder then
        redis.call('SET', key, booking, 'PX', ARGV[1])
        answer[i] = ''
    elseif holder == booking then
        answer[i] = ''
    else
        answer[i] = holder
    end
end
return answer
