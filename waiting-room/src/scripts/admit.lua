-- Admits the first visitors in the line who are there, as far as the bucket, the cap and the stock
-- allow.
-- ARGV 1 rate per second, 2 burst, 3 most active visitors (0: no cap), 4 most in one call, 5 ms for
--      which a lapsed pass still takes its slot, since a booking made in time may be undecided,
--      6 and 7 epoch and seq of the last change that the node knows,
--      8 most visitors who may be choosing at once (0: any number), 9 ms after which an admitted
--      visitor no longer counts as choosing
-- Returns {'FLUSHED'}, with 'BEHIND' where Redis lacks changes; or {'OK', epoch, then ticket and
--      record of each admitted visitor}. They stay in `admitting` until settled, so a node that
--      dies in between loses nobody.
-- Atomic, because any number of nodes run it at once and the sum must be exact. It goes by Redis's
-- clock: a jump forwards yields at most one burst, a jump backwards nothing.
local lost = lost_or_behind(tonumber(ARGV[6]), tonumber(ARGV[7]), false)
if lost then return lost end
local mark = redis.call('HMGET', head, 'epoch', 'counter', 'held_until', 'to_restore')
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local max_active, batch = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local answer = {'OK', mark[1]}
-- Without all of the active visitors the cap would not hold.
if mark[4] then return answer end
-- A hold lasts a minute at most; one that looks longer comes from a clock that jumped.
local hold = tonumber(mark[3] or '0') - now
if hold > 0 and hold <= 60000 then return answer end

local was = redis.call('HMGET', bucket, 'tokens', 'at')
local tokens, elapsed = 0, 0
if was[1] and was[2] then
  tokens, elapsed = tonumber(was[1]), math.max(0, now - tonumber(was[2]))
end
tokens = math.min(burst, tokens + elapsed / 1000 * rate)

local free = math.min(math.floor(tokens), batch)
if max_active > 0 then
  local taken = redis.call('ZCOUNT', active, '(' .. text(now - tonumber(ARGV[5] or '0')), '+inf') + redis.call('ZCARD', admitting)
  free = math.min(free, max_active - taken)
end
local choosing_max = tonumber(ARGV[8] or '0')
if choosing_max > 0 then
  redis.call('ZREMRANGEBYSCORE', choosing, '-inf', text(now - tonumber(ARGV[9])))
  -- An admission in the future means that the clock has jumped back: such choosers would never
  -- lapse, and so hold up the line.
  redis.call('ZREMRANGEBYSCORE', choosing, '(' .. text(now + 1000), '+inf')
  free = math.min(free, choosing_max - redis.call('ZCARD', choosing))
end
local gone = {}
if free > 0 then
  for _, ticket in ipairs(redis.call('ZRANGE', ready, 0, free - 1)) do
    local rank = take_out(ticket)
    if not rank then redis.call('ZREM', ready, ticket) end
    local record = redis.call('HGET', places, ticket)
    if rank and record then
      redis.call('ZADD', admitting, text(now), ticket)
      redis.call('ZADD', choosing, text(now), ticket)
      answer[#answer + 1] = ticket
      answer[#answer + 1] = record
      tokens = tokens - 1
    end
    gone[#gone + 1] = rank
  end
end
-- Rounded down, so that rounding never lets anybody in.
redis.call('HSET', bucket, 'tokens', string.format('%.6f', math.floor(tokens * 1e6) / 1e6),
  'at', string.format('%.3f', now))
if #gone > 0 then tell(mark[1], 'g', table.concat(gone, ' ')) end
return answer
