-- Ends or prolongs the locks of bookings that were being decided.
-- KEYS[i]: seat_lock:{show}:seat
-- ARGV[2i - 1]: the booking that the seat was locked for
-- ARGV[2i]: time to live in milliseconds; 0 ends the lock
-- Returns: the places in KEYS of seats that were to stay locked and are not locked for their booking
-- Atomic: a lock that names another booking is newer and must stay, and so must a lock that a payment
-- has prolonged further.
local others = {}
for i, key in ipairs(KEYS) do
    local booking, ttl = ARGV[2 * i - 1], ARGV[2 * i]
    if redis.call('GET', key) == booking then
        if ttl == '0' then
            redis.call('DEL', key)
        elseif redis.call('PTTL', key) < tonumber(ttl) then
            redis.call('PEXPIRE', key, ttl)
        end
    elseif ttl ~= '0' then
        others[#others + 1] = i
    end
end
return others
