-- Opens the line, or opens it again after Redis has lost it. A newer epoch replaces an older
-- one; the same or an older one changes nothing.
-- ARGV 1 epoch, 2 highest number that may have been given out, 3 ms to hold admission, so that
--      visitors can come back to their places before anybody is admitted, 4 to 6 the stretch that
--      places are added to: version of its rule, '1' where it is drawn, base
-- Returns the epoch and the seq of the line.
-- Atomic, because several nodes notice a loss at once, and the line must have one counter.
local mark = redis.call('HMGET', head, 'epoch', 'counter', 'reserved', 'seq')
if mark[1] and mark[2] and tonumber(mark[1]) >= tonumber(ARGV[1]) then
  return {mark[1], mark[4] or '0'}
end
local given = math.max(tonumber(mark[2] or '0'), tonumber(ARGV[2]))
local now = now_ms()
redis.call('HSET', head, 'epoch', ARGV[1], 'counter', text(given), 'reserved', text(given),
  'held_until', text(now + tonumber(ARGV[3])), 'redis', this_redis(), 'swept_at', text(now),
  'rule', ARGV[4], 'drawn', ARGV[5], 'base', ARGV[6], 'forget_at', text(now + DAY_MS))
-- Where numbers were given out, visitors may have been admitted; they are in Postgres's log.
if tonumber(ARGV[2]) > 0 then redis.call('HSET', head, 'to_restore', ARGV[1]) end
local seq = tell(ARGV[1], 'o', '1')
keep_until_forgotten()
return {ARGV[1], text(seq)}
