-- Keeps an admitted visitor active for longer.
-- ARGV 1 ticket, 2 ms for which its pass is still valid
-- Returns nothing.
-- A script, because the time must come from Redis's clock.
redis.call('ZADD', active, 'XX', 'GT', text(now_ms() + tonumber(ARGV[2])), ARGV[1])
