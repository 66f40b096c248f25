-- Keeps an admitted visitor active for longer.
-- ARGV 1 ticket, 2 ms for which its pass is valid still
-- Returns nothing.
-- Atomic, because the time is the store's own.
redis.call('ZADD', active, 'XX', 'GT', text(now_ms() + tonumber(ARGV[2])), ARGV[1])
