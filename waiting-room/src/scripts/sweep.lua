-- Makes silent visitors absent, so that admission skips them, and takes them out of the line after
-- the grace. Frees the slots of lapsed passes, and returns admissions that a node did not settle.
-- Forgets how places ended after a day, and keeps the line's keys until a day after the sale.
-- ARGV 1 ms of silence until absent, 2 ms of silence until the place is lost, 3 most visitors of
--      each kind in one call, 4 ms after which an admission that is not settled is done again,
--      5 this node, 6 ms of silence after which a node is gone, 7 ms for which a lapsed pass still
--      takes its slot, 8 and 9 epoch and seq of the last change that the node knows, 10 ms until
--      the sale is over
-- Returns {'FLUSHED'}, with 'BEHIND' where Redis lacks changes; or {'OK', epoch, seq, visitors
--      active, absent and in the line, '1' where Redis did not know this node, which then holds
--      nobody, '1' where a node is gone and its visitors must be made absent, '1' where the keys
--      contradict each other, '1' where visitors with a valid pass must be made active again after
--      a loss, then ticket and record of each admission to be done again}. Every
--      place in the line has a record and an account, and is either ready (held, or seen) or
--      absent; where that is not so, a part was lost.
-- Atomic, because a visitor may come back at the same moment.
local lost = lost_or_behind(tonumber(ARGV[8]), tonumber(ARGV[9]), true)
if lost then return lost end
local epoch = epoch_of_line()
local absent_ms, grace_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local batch, retry_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

-- Nobody swept for 5 s, or the clock jumped: then visitors seem silent who could not be heard, and
-- everybody gets the whole grace to be heard again. Not needed where all were heard of since.
local mark = redis.call('HMGET', head, 'swept_at', 'lenient_until')
local lenient_until = tonumber(mark[2] or '0')
local was_silent = not mark[1] or math.abs(now - tonumber(mark[1])) > 5000
if was_silent and (redis.call('ZCARD', absent) > 0 or redis.call('HLEN', held) > 0
    or redis.call('ZCOUNT', seen, '-inf', text(now - 5000)) > 0) then
  lenient_until = now + grace_ms
end
if lenient_until > now + grace_ms then lenient_until = now + grace_ms end
redis.call('HSET', head, 'swept_at', text(now), 'lenient_until', text(lenient_until),
  'forget_at', text(now + tonumber(ARGV[10]) + DAY_MS))

local heard = redis.call('ZSCORE', nodes, ARGV[5])
local is_new = not heard or now - tonumber(heard) > tonumber(ARGV[6])
redis.call('ZADD', nodes, text(now), ARGV[5])

local gone, expired, nodes_gone = {}, {}, 0
if now >= lenient_until then
  nodes_gone = redis.call('ZCOUNT', nodes, '-inf', '(' .. text(now - tonumber(ARGV[6])))
  local silent = redis.call('ZRANGEBYSCORE', seen, '-inf', text(now - absent_ms), 'WITHSCORES',
    'LIMIT', 0, batch)
  for i = 1, #silent, 2 do
    redis.call('ZREM', ready, silent[i])
    redis.call('ZREM', seen, silent[i])
    redis.call('ZADD', absent, silent[i + 1], silent[i])
  end
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', absent, '-inf', text(now - grace_ms),
    'LIMIT', 0, batch)) do
    gone[#gone + 1] = take_out(ticket)
    redis.call('ZREM', absent, ticket)
    expired[#expired + 1] = ticket
    local account = forget(ticket)
    if account then remember_end(ticket, 'EXPIRED', account) end
  end
end
local lapsed = redis.call('ZRANGEBYSCORE', active, '-inf', text(now - tonumber(ARGV[7] or '0')),
  'LIMIT', 0, batch)
for _, ticket in ipairs(lapsed) do
  redis.call('ZREM', active, ticket)
  -- A loss may have made an admitted visitor join again with the ticket.
  gone[#gone + 1] = take_out(ticket)
  forget(ticket)
end
if #expired > 0 or #gone > 0 then
  tell(epoch, 'g', table.concat(gone, ' '), 'x', table.concat(expired, ' '))
end

local forgotten = redis.call('ZRANGEBYSCORE', ended_at, '-inf', text(now - DAY_MS), 'LIMIT', 0, batch)
if #forgotten > 0 then
  redis.call('HDEL', ended, unpack(forgotten))
  redis.call('ZREM', ended_at, unpack(forgotten))
end
keep_until_forgotten()

local n_line, n_ready = redis.call('ZCARD', line), redis.call('ZCARD', ready)
local n_absent = redis.call('ZCARD', absent)
local fits = n_line == n_ready + n_absent
  and n_ready == redis.call('ZCARD', seen) + redis.call('HLEN', held)
  and n_line <= redis.call('HLEN', places) and n_line <= redis.call('HLEN', accounts)
local answer = {'OK', epoch, redis.call('HGET', head, 'seq') or '0',
  text(redis.call('ZCARD', active)), text(n_absent), text(n_line),
  is_new and '1' or '0', nodes_gone > 0 and '1' or '0', fits and '0' or '1',
  text(redis.call('HEXISTS', head, 'to_restore'))}
for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', admitting, '-inf', text(now - retry_ms),
  'LIMIT', 0, batch)) do
  local record = redis.call('HGET', places, ticket)
  if record then
    answer[#answer + 1] = ticket
    answer[#answer + 1] = record
  else
    redis.call('ZREM', admitting, ticket)
  end
end
return answer
