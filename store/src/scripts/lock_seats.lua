-- Locks seats for undecided bookings, except seats that are locked for others.
-- KEYS[1]: seat_lock_generation:{show}:tier   KEYS[i + 1]: seat_lock:{show}:seat
-- ARGV[1]: the generation under which the caller knows the locks to be whole
-- ARGV[2]: time to live in milliseconds   ARGV[i + 2]: the booking that wants KEYS[i + 1]
-- Returns: 1, or 0 if the generation is another one or gone; then nothing is locked
-- Atomic: no flush may come between reading the generation and locking the seats.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
for i = 2, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2], 'NX')
end
return 1
