-- Gives up a line of which a part was lost, so that it begins anew as after a loss of all of it.
-- ARGV 1 epoch
-- Returns 1, or 0 where the line has begun anew already.
-- Atomic, because several nodes notice the loss at once.
if redis.call('HGET', head, 'epoch') ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(KEYS))
return 1
