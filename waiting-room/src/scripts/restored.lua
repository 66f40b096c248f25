-- Notes that all visitors with a valid pass are active again after a loss; admission goes on.
-- ARGV 1 epoch for which they were restored
-- Returns nothing.
-- Atomic, because the line may begin anew once more at the same moment.
if redis.call('HGET', head, 'to_restore') == ARGV[1] then redis.call('HDEL', head, 'to_restore') end
