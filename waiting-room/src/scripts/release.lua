-- A node has no socket of these visitors any more, so their silence begins now.
-- ARGV 1 node, 2... tickets
-- Returns how many visitors were released.
-- Atomic, because another node may come to hold a visitor at the same moment. A node that has a
-- socket of one of them hears of it by the change, and holds the visitor again.
local epoch = epoch_of_line()
if not epoch then return 0 end
local now, free = text(now_ms()), {}
for i = 2, #ARGV do
  local ticket = ARGV[i]
  local holder = redis.call('HGET', held, ticket)
  if not holder or holder == ARGV[1] then
    redis.call('HDEL', held, ticket)
    if redis.call('ZSCORE', ready, ticket) then
      redis.call('ZADD', seen, now, ticket)
      free[#free + 1] = ticket
    end
  end
end
if #free > 0 then tell(epoch, 'r', table.concat(free, ' ')) end
return #free
