-- Visitors whose node is gone are absent, and have their grace to come back to another one.
-- ARGV tickets; those that a living node holds are left alone
-- Returns how many are absent now.
-- Atomic, because they may have come back already. Nodes that have a socket of one all the same
-- are told, and hold on.
local epoch = epoch_of_line()
if not epoch then return 0 end
local now, free = text(now_ms()), {}
for _, ticket in ipairs(ARGV) do
  local holder = redis.call('HGET', held, ticket)
  if holder and not redis.call('ZSCORE', nodes, holder) then
    redis.call('HDEL', held, ticket)
    if redis.call('ZREM', ready, ticket) == 1 then
      redis.call('ZADD', absent, now, ticket)
      free[#free + 1] = ticket
    end
  end
end
if #free > 0 then tell(epoch, 'r', table.concat(free, ' ')) end
return #free
